"""What a request costs: CPU time of a worker beside that of an empty aiohttp handler and of peers; of Redis for long carts.

`python -m benchmarks.hot_path.measure [--quick]` starts the gateway with one worker on one core, every layer of the edge on; the
store, the upstream and the load (wrk) run on another. The yardstick is measured in the same rounds, and ratios are taken
within a round, so that a machine that is slower for a while does not bend them. It wants a quiet machine all the same, and
tells when it has none.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

from benchmarks.harness.gateway_process import (
    Api,
    GatewayProcess,
    HarnessError,
    serving,
)
from benchmarks.harness.processes import busy_cores, cpu_time, pin
from benchmarks.harness.results import Figure, figures_table, number, write_results
from benchmarks.hot_path.every_layer import SHOPPERS, EveryLayer
from benchmarks.hot_path.redis_cost import RedisCosts
from benchmarks.hot_path.rows import (
    ADD,
    PEER_TARGETS,
    READ,
    READ_LONG,
    SHORT_CART,
    YARDSTICK,
    Server,
    Subject,
    by,
    check_status,
    compared_with,
    prepare_peer,
    prepare_subjects,
    serving_module,
)
from benchmarks.load.wrk import LoadResult, find_wrk, play, wrk_version
from benchmarks.peers.servers import Peer, PeerMissing
from benchmarks.replay.tables import table

CONNECTIONS = 64
SERVER_CORE, LOAD_CORE = 0, 1
QUIET = (
    0.1  # cores at work before the measurement; with more, a worker is interrupted and each wake-up serves fewer calls
)
_TRIES = 3


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
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peakgate-bench-")))
        upstream = stack.enter_context(serving_module("benchmarks.upstreams.canned"))
        layers = EveryLayer.prepare(folder, upstream_port=upstream.port)
        one_worker = ("--workers", "1", "--role", "edge", "--config", str(layers.configuration))
        gateway = stack.enter_context(serving(*one_worker))
        print(f"gateway ready after {gateway.started_in_s:.2f} s; preparing carts", file=sys.stderr)
        subjects, servers = compared_with(stack, layers)
        with Api(gateway.port) as api:
            own = prepare_subjects(api, layers)
        worker = Server(gateway.port, find_worker(gateway, own[0]))
        subjects += own
        servers |= {subject.name: worker for subject in own}
        for peer in PEER_TARGETS:
            try:
                compared, server = prepare_peer(stack, peer, gateway, layers)
            except PeerMissing as missing:
                print(f"without {peer.name}: {missing}", file=sys.stderr)
                continue
            subjects += compared
            servers |= {subject.name: server for subject in compared}
        for server in servers.values():
            pin(server.pid, SERVER_CORE)
        measured = _measure_in_rounds(subjects, servers, rounds=rounds, seconds=seconds)
        store = f"valkey {gateway.store.info('server').get('valkey_version', '')}".strip()
    redis_costs = _redis_costs(redis_calls)
    figures = [*_ratios(measured), *ratios_to_peers(measured), *redis_costs.figures()]
    print(_calls_table(measured), figures_table(figures), sep="\n\n")
    if not keep:
        return
    settings = {
        "rounds": rounds,
        "seconds": seconds,
        "connections": CONNECTIONS,
        "shoppers": SHOPPERS,
        "store": store,
        "load": wrk_version(),
        "busy_cores_before": round(busy_before, 2),
    }
    path = write_results("hot_path", settings, {"calls": [row.as_json() for row in measured]}, figures)
    print(f"\nkept in {path}")


def _redis_costs(calls: int) -> RedisCosts:
    """By a gateway without limits: what those ask of the store could not be told apart from the carts' calls."""
    with serving("--workers", "1", "--role", "edge") as gateway:
        for pid in gateway.server_processes():
            pin(pid, SERVER_CORE)
        return RedisCosts.measure(gateway, calls)


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


def _measure_in_rounds(
    subjects: Sequence[Subject], servers: dict[str, Server], *, rounds: int, seconds: float
) -> list[Measured]:
    """All subjects in each round, the yardstick first, after one short round that does not count."""
    samples: dict[str, list[Sample]] = {subject.name: [] for subject in subjects}
    for turn in range(rounds + 1):
        for subject in subjects:
            taken = sample(*servers[subject.name], subject, seconds=seconds if turn else subject.warm_up_s)
            if not turn:
                check_status(servers[subject.name].port, subject)
            else:
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


def ratios_to_peers(measured: Sequence[Measured]) -> list[Figure]:
    """What a read and an add cost beside the peers that were there; ratios within each round first."""
    by_name = {row.name: row for row in measured}
    return [
        _to_peer(name, by_name[name], by_name[by(peer, name)], peer, target)
        for peer, most in PEER_TARGETS.items()
        for name, target in ((READ, most), (ADD, None))
        if by(peer, name) in by_name
    ]


def _to_peer(name: str, own: Measured, others: Measured, peer: Peer, target: float | None) -> Figure:
    ratio = median(one.cpu_us / other.cpu_us for one, other in zip(own.samples, others.samples, strict=True))
    note = f"{number(own.cpu_us)} to {number(others.cpu_us)} µs"
    return Figure(f"{name}: CPU to {peer.name}'s", ratio, "ratio", target, note)


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
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hot_path.measure", description=__doc__.partition("\n")[0]
    )
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
