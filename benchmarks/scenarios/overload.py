"""Overload: a worker under twice and three times its capacity. Goodput, latency, rejected requests, and recovery.

`python -m benchmarks.scenarios.overload [--quick]` starts the gateway with one worker on one core; the store and the load run on
another. The load is open-loop (open_loop.py). The highest load that the worker can serve is searched first, with the same
mix; all other loads are multiples of it.

The mix is a sale: of 100 requests 45 products, 25 cart reads, 25 added lines and 5 checkouts of carts filled beforehand. A
checkout costs several times as much as the others and is shed last, so that under overload fewer but dearer requests are
accepted. So goodput is reported twice: in requests, and in work, where each request counts as the CPU time of its kind
measured alone. The target is for the work, which is the capacity that rejections take away.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import orjson

from benchmarks.harness.books import check_books
from benchmarks.harness.command import check_cores, exit_code_of
from benchmarks.harness.gateway_process import GatewayProcess, HarnessError, checkout_of, serving
from benchmarks.harness.processes import busy_cores, cpu_time, memory, pin
from benchmarks.harness.results import Result, number, results_table, write_results
from benchmarks.load.open_loop import BIN_S, Kind, Load, LoadStats, Setup
from benchmarks.replay.tables import table

CONNECTIONS = 2000
SERVER_CORE, LOAD_CORE = 0, 1
PRODUCTS, CARTS = 1000, 2000
QUIET = 0.1
PRODUCT, READ, ADD, CHECKOUT = "product", "cart read", "add a line", "checkout"
MIX = {PRODUCT: 45, READ: 25, ADD: 25, CHECKOUT: 5}
RECOVERY_SHARE = 0.3
# A load is within the capacity as long as the worker rejects and loses less than this.
_MAX_REJECTED = 0.01
_FIRST_RATE, _STEP, _FINE_STEP = 2000.0, 1.4, 1.07
_MAX_RATE = 100_000.0
_BATCH = 100


@dataclass(frozen=True, slots=True)
class Phase:
    """One load, at a multiple of the best, its results, and the memory of the worker at its end, in bytes."""

    name: str
    rate: float
    seen: LoadStats
    rss: int

    def work_per_s(self, cost_us: Mapping[str, float]) -> float:
        """Seconds of CPU time a second for the accepted requests, at the cost of each kind alone."""
        return sum(kind.accepted * cost_us[name] for name, kind in self.seen.kinds.items()) / self.seen.seconds / 1e6

    def as_json(self, cost_us: Mapping[str, float]) -> dict[str, Any]:
        """The row of the results file."""
        seen = self.seen
        return {
            "name": self.name,
            "offered_per_s": round(self.rate),
            "accepted_per_s": round(seen.accepted / seen.seconds),
            "work_per_s": round(self.work_per_s(cost_us), 3),
            "p50_ms": round(seen.p50_ms, 2),
            "p99_ms": round(seen.p99_ms, 2),
            "max_ms": round(seen.max_ms, 2),
            "p99_ms_by_quarter_second": [round(each, 1) for each in seen.p99_ms_by_bin],
            "kinds": {name: msgspec.structs.asdict(kind) for name, kind in seen.kinds.items()},
            "lost": seen.lost,
            "last_rejected_s": round(seen.last_rejected_s, 2),
            "generator_late_ms": round(seen.late_ms, 1),
            "rss_mib": round(self.rss / 2**20, 1),
        }


class Player:
    """The process of the load generator."""

    def __init__(self, process: subprocess.Popen[bytes], setup: Setup, worker: int) -> None:
        self._process = process
        self._worker = worker
        self._say(setup)

    def play(self, name: str, rate: float, seconds: float, *, only: str | None = None) -> Phase:
        """Generate one load."""
        self._say(Load(rate, seconds, only))
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise HarnessError(f"the load generator ended during {name}; its output is above")
        seen = msgspec.json.decode(line, type=LoadStats)
        print(
            f"{name}: {rate:,.0f}/s offered, {seen.accepted / seen.seconds:,.0f}/s accepted, p99 {seen.p99_ms:.1f} ms",
            file=sys.stderr,
        )
        return Phase(name, rate, seen, memory(self._worker).rss)

    def _say(self, value: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(value) + b"\n")
        self._process.stdin.flush()


def main() -> int:
    """Entry point of `make bench-overload`; 0 when everything could be measured, whether or not targets are met."""
    args = _parse()
    return exit_code_of("overload", lambda: measure(seconds=args.seconds, orders=args.orders, keep=not args.quick))


def measure(*, seconds: float, orders: int, keep: bool) -> None:
    """Measure, print the results and, if wanted, write results/overload.json."""
    check_cores(SERVER_CORE, LOAD_CORE)
    busy_before = busy_cores(over_s=1)
    if busy_before > QUIET:
        print(f"{busy_before:.1f} cores are busy with something else: the results mean nothing", file=sys.stderr)
    # Children inherit this; only the worker is moved to a core of its own.
    os.sched_setaffinity(0, {LOAD_CORE})
    with sale_catalogue() as catalogue, serving("--workers", "1", "--role", "edge", catalogue=catalogue) as gateway:
        print("preparing carts", file=sys.stderr)
        setup = Setup(gateway.port, CONNECTIONS, prepare_mix(gateway.port, orders=orders))
        (worker,) = _workers(gateway)
        pin(worker, SERVER_CORE)
        with _playing(setup, worker) as player:
            cost_us = _costs(player, worker)
            best = find_best(player, seconds=max(seconds / 5, 1.0))
            rate = best.seen.accepted / best.seen.seconds
            rss_before = memory(worker).rss
            phases = [
                best,
                player.play("70 %", 0.7 * rate, seconds),
                player.play("twice the best", 2 * rate, seconds),
                player.play("three times the best", 3 * rate, seconds),
                player.play("after it", RECOVERY_SHARE * rate, max(seconds / 2, 6.0)),
            ]
        check_books(gateway)
    results = results_of(phases, cost_us, rss_before)
    print(_phases_table(phases, cost_us), results_table(results), sep="\n\n")
    if not keep:
        return
    settings = {
        "seconds": seconds,
        "connections": CONNECTIONS,
        "mix": MIX,
        "cpu_us_by_kind": {name: round(cost, 1) for name, cost in cost_us.items()},
        "busy_cores_before": round(busy_before, 2),
    }
    parts = {"phases": [phase.as_json(cost_us) for phase in phases]}
    print(f"\nwritten to {write_results('overload', settings, parts, results)}")


def find_best(player: Player, *, seconds: float) -> Phase:
    """The load with most accepted requests: raised in large steps until some are rejected, then in small steps from the last good one."""
    rate, tried = _FIRST_RATE, list[Phase]()
    for step in (_STEP, _FINE_STEP):
        while rate < _MAX_RATE:
            tried.append(player.play("looking for the best", rate, seconds))
            if not _is_whole(tried[-1].seen):
                break
            rate *= step
        rate = max((phase.rate for phase in tried if _is_whole(phase.seen)), default=_FIRST_RATE / 2) * _FINE_STEP
    best = max(tried, key=lambda phase: phase.seen.accepted / phase.seen.seconds)
    return Phase("the best", best.rate, best.seen, best.rss)


def results_of(phases: Sequence[Phase], cost_us: Mapping[str, float], rss_before: int) -> list[Result]:
    """The results with their targets. Goodput is reported as the share that is missing of the best, so that less is better."""
    best, calm, twice, thrice, after = phases
    at_best = best.work_per_s(cost_us)
    results = []
    for phase, share in ((twice, 0.85), (thrice, 0.70)):
        share_of_best = phase.work_per_s(cost_us) / at_best
        in_requests = phase.seen.accepted / phase.seen.seconds / (best.seen.accepted / best.seen.seconds)
        note = f"{share_of_best:.0%} of the best in work, {in_requests:.0%} in requests"
        results += [
            Result(f"goodput missing at {phase.name}", 1 - share_of_best, "share of the best", 1 - share, note),
            Result(f"p99 at {phase.name} to that at 70 %", phase.seen.p99_ms / calm.seen.p99_ms, "ratio", 5),
            Result(f"checkouts rejected at {phase.name}", rejected_share(phase.seen, CHECKOUT), "share", 0.01),
        ]
    grown = (thrice.rss - rss_before) / 2**20
    return [
        *results,
        Result("rejected or slow after the load has stopped for", normal_after_s(after.seen, calm.seen.p99_ms), "s", 5),
        Result("memory of the worker grown by", grown, "MiB", 64),
        Result("generator late, at most", max(phase.seen.late_ms for phase in phases), "ms"),
    ]


def rejected_share(seen: LoadStats, kind: str) -> float:
    """The rejected share of the responses of one kind."""
    counts = seen.kinds[kind]
    return counts.rejected / max(counts.accepted + counts.rejected, 1)


def normal_after_s(seen: LoadStats, p99_ms: float) -> float:
    """Seconds until no request was rejected any more and the p99 was, and stayed, within five times the normal p99."""
    slow = [number for number, each in enumerate(seen.p99_ms_by_bin) if each > 5 * p99_ms]
    return max(seen.last_rejected_s, (slow[-1] + 1) * BIN_S if slow else 0.0)


def prepare_mix(port: int, *, orders: int, payment: str = "tok_visa") -> list[Kind]:
    """The requests of each kind; of different carts and products. At most `orders` checkouts can be accepted."""
    skus = [f"SKU-{number:04}" for number in range(PRODUCTS)]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        browsed = _filled_carts(connection, CARTS, [skus[number : number + 5] for number in range(0, PRODUCTS, 5)])
        ordered = _filled_carts(connection, orders, [[sku] for sku in skus])
    adds = [
        _request("POST", f"/v1/carts/{cart}/lines", {"sku": skus[number % PRODUCTS // 5 * 5], "quantity": 1})
        for number, cart in enumerate(browsed)
    ]
    return [
        Kind(PRODUCT, MIX[PRODUCT], [_request("GET", f"/v1/products/{sku}") for sku in skus]),
        Kind(READ, MIX[READ], [_request("GET", f"/v1/carts/{cart}") for cart in browsed]),
        Kind(ADD, MIX[ADD], adds),
        Kind(CHECKOUT, MIX[CHECKOUT], [_checkout(cart, payment) for cart in ordered], once=True),
    ]


def _checkout(cart: str, payment: str) -> bytes:
    return _request("POST", "/v1/checkout", checkout_of(cart, payment), f"Idempotency-Key: {cart}\r\n")


def _filled_carts(connection: socket.socket, count: int, lines: Sequence[Sequence[str]]) -> list[str]:
    """Ids of so many new carts, filled with the SKUs of each of `lines` in turn; in batches over one connection."""
    found: list[str] = []
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        made = _exchange(connection, [_request("POST", "/v1/carts", {})] * size)
        carts = [str(orjson.loads(body)["id"]) for body in made]
        fills = [
            _request(
                "PATCH",
                f"/v1/carts/{cart}/lines",
                [{"sku": sku, "quantity": 1} for sku in lines[(start + number) % len(lines)]],
            )
            for number, cart in enumerate(carts)
        ]
        _exchange(connection, fills)
        found += carts
    return found


def _request(method: str, path: str, body: object = None, more: str = "") -> bytes:
    payload = b"" if body is None else orjson.dumps(body)
    if payload:
        more += f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: shop.example\r\n{more}\r\n".encode() + payload


def _exchange(connection: socket.socket, requests: Sequence[bytes]) -> list[bytes]:
    """Bodies of the responses to pipelined requests. Raises HarnessError unless all are 2xx."""
    connection.sendall(b"".join(requests))
    bodies: list[bytes] = []
    with connection.makefile("rb") as responses:
        for _ in requests:
            status, length = responses.readline().split()[1], 0
            while (line := responses.readline()) not in {b"\r\n", b""}:
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            bodies.append(responses.read(length))
            if not status.startswith(b"2"):
                raise HarnessError(f"preparing carts: returned {status.decode()} {bodies[-1][:200].decode()}")
    return bodies


@contextlib.contextmanager
def sale_catalogue() -> Iterator[Path]:
    """A catalogue whose stock is never sold out, which would change the responses."""
    with tempfile.TemporaryDirectory(prefix="peakgate-bench-") as folder:
        path = Path(folder, "catalogue.csv")
        rows = (f"SKU-{number:04},PRODUCT {number},{1 + number % 50}.95,GBP,1000000" for number in range(PRODUCTS))
        path.write_text("\n".join(["sku,name,price,currency,stock", *rows, ""]))
        yield path


@contextlib.contextmanager
def _playing(setup: Setup, worker: int) -> Iterator[Player]:
    command = [sys.executable, "-m", "benchmarks.load.open_loop"]
    # The store shares the core and is part of the measurement: the load must not delay it.
    process = subprocess.Popen(["nice", "-n", "15", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Player(process, setup, worker)
    finally:
        process.kill()
        process.communicate()


def _workers(gateway: GatewayProcess) -> Sequence[int]:
    return gateway.workers()


def _costs(player: Player, worker: int) -> dict[str, float]:
    """CPU microseconds of the worker for one request of each kind, alone and at a load within its capacity."""
    costs: dict[str, float] = {}
    for kind in MIX:
        before = cpu_time(worker)
        seen = player.play(f"{kind} alone", 500 if kind == CHECKOUT else 5000, 2.0, only=kind).seen
        if not seen.accepted:
            raise HarnessError(f"no {kind} was accepted: {seen.kinds[kind]}")
        costs[kind] = cpu_time(worker).since(before).total_s / seen.accepted * 1e6
    return costs


def _is_whole(seen: LoadStats) -> bool:
    """Whether nearly all offered requests were accepted."""
    return seen.accepted >= seen.offered * (1 - _MAX_REJECTED)


def _phases_table(phases: Sequence[Phase], cost_us: Mapping[str, float]) -> str:
    head = ("load", "offered/s", "accepted/s", "work", "p50 ms", "p99 ms", *(f"{kind} rejected" for kind in MIX))
    rows = [
        (
            phase.name,
            round(phase.rate),
            round(phase.seen.accepted / phase.seen.seconds),
            f"{phase.work_per_s(cost_us):.2f}",
            number(phase.seen.p50_ms),
            number(phase.seen.p99_ms),
            *(f"{rejected_share(phase.seen, kind):.1%}" for kind in MIX),
        )
        for phase in phases
    ]
    return table(
        (*head, "lost", "RSS MiB"),
        [(*row, p.seen.lost, f"{p.rss / 2**20:.0f}") for row, p in zip(rows, phases, strict=True)],
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.overload", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="short phases, results not written: for trying it out")
    parser.add_argument("--seconds", type=float, help="seconds of each phase (default: 20)")
    parser.add_argument("--orders", type=int, help="carts prepared for checkout, each used once (default: 120000)")
    args = parser.parse_args()
    args.seconds = args.seconds or (4 if args.quick else 20)
    args.orders = args.orders or (30_000 if args.quick else 120_000)
    return args


if __name__ == "__main__":
    sys.exit(main())
