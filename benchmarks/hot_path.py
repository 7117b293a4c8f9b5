"""What a request costs: CPU time of a worker beside that of an empty aiohttp handler, and of Redis for long carts.

`python -m benchmarks.hot_path [--quick]` starts the gateway with one worker on one core; the store and the load (wrk) run
on another. The yardstick is measured in the same rounds, and ratios are taken within a round, so that a machine that is
slower for a while does not bend them. It wants a quiet machine all the same, and tells when it has none.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, NoReturn
from urllib.parse import quote

import orjson

from benchmarks.figures import Figure, figures_table, number, write_results
from benchmarks.gateway_process import (
    LONG_CART,
    Api,
    GatewayProcess,
    HarnessError,
    await_port,
    free_port,
    serving,
    start_child,
    stop_child,
)
from benchmarks.processes import busy_cores, cpu_time, pin
from benchmarks.redis_cost import RedisCosts
from benchmarks.text_table import table
from benchmarks.wrk import Call, LoadResult, find_wrk, play, wrk_version

CONNECTIONS = 64
SHORT_CART = 5
SERVER_CORE, LOAD_CORE = 0, 1
QUIET = (
    0.1  # cores at work before the measurement; with more, a worker is interrupted and each wake-up serves fewer calls
)
_TRIES = 3
YARDSTICK, FLOOR = "empty aiohttp handler", "bare protocol, nothing parsed"
READ, READ_LONG = f"cart read, {SHORT_CART} lines", f"cart read, {LONG_CART} lines"


@dataclass(frozen=True, slots=True)
class Subject:
    """Calls of one kind. `target` is the most their cost may be as a ratio to the yardstick's; `refused`: errors are right."""

    name: str
    calls: Sequence[Call]
    target: float | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One kind of call in one round: CPU microseconds per request, and those of them that were spent in the kernel."""

    cpu_us: float
    system_us: float
    load: LoadResult


@dataclass(frozen=True, slots=True)
class Measured:
    """One kind of call over all rounds; `ratio` is the median of the rounds' ratios to the yardstick."""

    name: str
    samples: Sequence[Sample]
    ratio: float
    target: float | None

    @property
    def cpu_us(self) -> float:
        """Median CPU microseconds of the server process per request."""
        return median(sample.cpu_us for sample in self.samples)

    @property
    def system_us(self) -> float:
        """Median of those spent in the kernel: reading, writing, waking the other side."""
        return median(sample.system_us for sample in self.samples)

    @property
    def requests_per_s(self) -> float:
        """Median throughput."""
        return median(sample.load.requests / sample.load.seconds for sample in self.samples)

    @property
    def p99_ms(self) -> float:
        """Median of the rounds' 99th percentiles."""
        return median(sample.load.p99_ms for sample in self.samples)

    def as_json(self) -> dict[str, Any]:
        """The row of the results file."""
        return {
            "name": self.name,
            "cpu_us_per_request": round(self.cpu_us, 2),
            "of_it_system_us": round(self.system_us, 2),
            "cpu_us_by_round": [round(sample.cpu_us, 2) for sample in self.samples],
            "ratio": round(self.ratio, 3),
            "requests_per_s": round(self.requests_per_s),
            "p99_ms": round(self.p99_ms, 2),
        }


def main() -> int:
    """Entry point of `make bench-hot-path`; 0 when everything could be measured, whether or not targets are met."""
    args = _parse()
    signal.signal(signal.SIGTERM, _stop_in_order)
    try:
        _check_machine()
        measure(rounds=args.rounds, seconds=args.seconds, redis_calls=200 if args.quick else 2000, keep=not args.quick)
    except HarnessError as error:
        print(f"hot_path: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def measure(*, rounds: int, seconds: float, redis_calls: int, keep: bool) -> None:
    """Measure all, print it and, if wanted, keep it in results/hot_path.json."""
    busy_before = busy_cores(over_s=1)
    if busy_before > QUIET:
        print(f"{busy_before:.1f} cores are busy with something else: the figures will be too high", file=sys.stderr)
    # Children inherit this; only the servers that are measured are moved to a core of their own.
    os.sched_setaffinity(0, {LOAD_CORE})
    with (
        serving("--workers", "1", "--role", "edge") as gateway,
        serving_module("benchmarks.empty_app") as yardstick,
        serving_module("benchmarks.bare_protocol") as floor,
    ):
        print(f"gateway ready after {gateway.started_in_s:.2f} s; preparing carts", file=sys.stderr)
        subjects = prepare_subjects(Api(gateway.port))
        worker = find_worker(gateway, subjects[0])
        servers = {YARDSTICK: yardstick, FLOOR: floor} | {subject.name: (gateway.port, worker) for subject in subjects}
        for _, pid in servers.values():
            pin(pid, SERVER_CORE)
        compared = [Subject(name, [Call("GET", "/")]) for name in (YARDSTICK, FLOOR)]
        measured = _measure_in_rounds([*compared, *subjects], servers, rounds=rounds, seconds=seconds)
        redis_costs = RedisCosts.measure(gateway, redis_calls)
        store = f"valkey {gateway.store.info('server').get('valkey_version', '')}".strip()
    figures = [*_ratios(measured), *redis_costs.figures()]
    print(_calls_table(measured), figures_table(figures), sep="\n\n")
    if not keep:
        return
    settings = {
        "rounds": rounds,
        "seconds": seconds,
        "connections": CONNECTIONS,
        "store": store,
        "load": wrk_version(),
        "busy_cores_before": round(busy_before, 2),
    }
    path = write_results("hot_path", settings, {"calls": [row.as_json() for row in measured]}, figures)
    print(f"\nkept in {path}")


def prepare_subjects(api: Api, carts: int = 1000, long_carts: int = 20) -> list[Subject]:
    """Fill the carts and name the calls; different carts and products, as different shoppers would ask for."""
    skus = api.skus(LONG_CART)
    five = [[skus[(number * 7 + line * 131) % LONG_CART] for line in range(SHORT_CART)] for number in range(carts)]
    short = [(api.cart_of(lines), lines) for lines in five]
    long = [api.cart_of(skus) for _ in range(long_carts)]
    adding = [
        Call("POST", f"/v1/carts/{cart_id}/lines", orjson.dumps({"sku": lines[turn], "quantity": 1}))
        for turn in range(SHORT_CART)
        for cart_id, lines in short
    ]
    return [
        Subject(READ, [Call("GET", f"/v1/carts/{cart_id}") for cart_id, _ in short], target=0.70),
        Subject(f"add a line, cart of {SHORT_CART}", adding, target=0.90),
        Subject("product", [Call("GET", f"/v1/products/{quote(sku, safe='')}") for sku in skus], target=0.45),
        Subject("404", [Call("GET", f"/v1/no/such/{number}") for number in range(100)], target=0.40, refused=True),
        Subject("405", [Call("DELETE", "/v1/checkout")], target=0.40, refused=True),
        Subject(READ_LONG, [Call("GET", f"/v1/carts/{cart_id}") for cart_id in long]),
    ]


def find_worker(gateway: GatewayProcess, subject: Subject) -> int:
    """The process that serves: whichever works when there is load. A warm-up as well."""
    before = gateway.cpu_times()
    play(gateway.port, subject.calls, seconds=1, connections=CONNECTIONS)
    return gateway.busiest(before)


def sample(port: int, pid: int, subject: Subject, *, seconds: float) -> Sample:
    """Drive one kind of call and see what it cost the process; again if answers were wrong, as on a busy machine."""
    for _ in range(_TRIES):
        before = cpu_time(pid)
        load = play(port, subject.calls, seconds=seconds, connections=CONNECTIONS)
        used = cpu_time(pid).since(before)
        wrong = load.requests - load.refused if subject.refused else load.refused
        if load.requests and not wrong and not load.socket_errors:
            return Sample(used.total_s / load.requests * 1e6, used.system_s / load.requests * 1e6, load)
    raise HarnessError(
        f"{subject.name}: {wrong} of {load.requests} answers with the wrong status, {load.socket_errors} lost"
    )


@contextmanager
def serving_module(module: str) -> Iterator[tuple[int, int]]:
    """Serve one of the small servers to compare with; its port and process."""
    port = free_port()
    process = start_child([sys.executable, "-m", module, str(port)])
    try:
        await_port(process, port)
        yield port, process.pid
    finally:
        stop_child(process)


def _measure_in_rounds(
    subjects: Sequence[Subject], servers: dict[str, tuple[int, int]], *, rounds: int, seconds: float
) -> list[Measured]:
    """All subjects in each round, the yardstick first, after one short round that does not count."""
    samples: dict[str, list[Sample]] = {subject.name: [] for subject in subjects}
    for turn in range(rounds + 1):
        for subject in subjects:
            taken = sample(*servers[subject.name], subject, seconds=seconds if turn else 1)
            if turn:
                print(f"round {turn} of {rounds}: {subject.name} {number(taken.cpu_us)} µs", file=sys.stderr)
                samples[subject.name].append(taken)
    return summarize(subjects, samples)


def summarize(subjects: Sequence[Subject], samples: dict[str, list[Sample]]) -> list[Measured]:
    """Medians over the rounds; ratios within each round first."""
    yardstick = samples[YARDSTICK]
    return [
        Measured(
            subject.name,
            samples[subject.name],
            median(own.cpu_us / base.cpu_us for own, base in zip(samples[subject.name], yardstick, strict=True)),
            subject.target,
        )
        for subject in subjects
    ]


def _ratios(measured: Sequence[Measured]) -> list[Figure]:
    by_name = {row.name: row for row in measured}
    ratios = [
        Figure(f"{row.name}: CPU to the empty handler's", row.ratio, "ratio", row.target, f"{number(row.cpu_us)} µs")
        for row in measured
        if row.target is not None
    ]
    long_to_short = median(
        long.cpu_us / short.cpu_us
        for long, short in zip(by_name[READ_LONG].samples, by_name[READ].samples, strict=True)
    )
    note = f"{number(by_name[READ_LONG].cpu_us)} µs"
    return [*ratios, Figure(f"{READ_LONG}: CPU to a read of {SHORT_CART}", long_to_short, "ratio", 30, note)]


def _calls_table(measured: Sequence[Measured]) -> str:
    rows = [
        (
            row.name,
            number(row.cpu_us),
            number(row.system_us),
            f"{row.ratio:.2f}",
            round(row.requests_per_s),
            number(row.p99_ms),
        )
        for row in measured
    ]
    return table((f"{CONNECTIONS} connections, one worker", "CPU µs", "system", "ratio", "requests/s", "p99 ms"), rows)


def _check_machine() -> None:
    if not sys.platform.startswith("linux"):
        raise HarnessError("CPU time is read from /proc: this measurement needs Linux")
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise HarnessError("two cores are needed: one for the worker, one for the store and the load")
    find_wrk()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hot_path", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="one round of a second each, figures not kept: for trying it out"
    )
    parser.add_argument("--rounds", type=int, help="rounds (default: 5)")
    parser.add_argument("--seconds", type=float, help="seconds of load for each kind of call in a round (default: 3)")
    args = parser.parse_args()
    args.rounds = args.rounds or (1 if args.quick else 5)
    args.seconds = args.seconds or (1 if args.quick else 3)
    return args


def _stop_in_order(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
