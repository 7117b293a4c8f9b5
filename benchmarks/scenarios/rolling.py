"""Rolling deploys behind HAProxy: requests that fail while gateways are replaced, orders lost or doubled.

`python -m benchmarks.scenarios.rolling [--quick]` runs two gateways over one store behind HAProxy, which repeats no request. The most
requests a second that are answered while a gateway is replaced are searched first. At 80 % of them gateways are replaced one after the other: the successor is started,
becomes ready, and its predecessor gets SIGTERM. All of them share the cores of one machine. So a starting gateway has the lowest
priority until it is ready, as it would have a host of its own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.harness.balancer import Balancer, balancing
from benchmarks.harness.command import exit_code_of
from benchmarks.harness.gateway_process import HarnessError, peakgate_command, start_child, stop_child
from benchmarks.harness.ports import free_port
from benchmarks.harness.processes import busy_cores, descendants
from benchmarks.harness.results import Result, results_table, write_results
from benchmarks.harness.store_pair import StoreServer, await_condition, store_server
from benchmarks.load.open_loop import KindStats, Load, LoadStats, Setup
from benchmarks.replay.books import audit_findings
from benchmarks.scenarios.overload import CHECKOUT, PRODUCTS, prepare_mix, sale_catalogue
from cart.model import Sku
from cart.sku_keys import product_key

CONNECTIONS: Final = 200
LOAD_SHARE: Final = 0.8
LOAD_S: Final = 12.0
GRACE_S: Final = 2.0
_LOWEST: Final = 19
_FIRST_RATE, _STEP = 400.0, 1.4
_MAX_FAILED: Final = 0.01
_READY_WITHIN_S: Final = 120.0
_ORDERS_WITHIN_S: Final = 180.0
_NAMES: Final = ("a", "b", "c")


@dataclass(frozen=True, slots=True)
class Roll:
    """One replacement of a gateway: the results of the load meanwhile, and how long it took."""

    load: LoadStats
    took_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of all rolls: responses to the clients, errors of the balancer, and stock beside orders."""

    capacity_per_s: float
    rolls: tuple[Roll, ...]
    balancer_errors: dict[str, int]
    orders_accepted: int
    stock_taken: int

    @property
    def loads(self) -> list[LoadStats]:
        """The load of each roll."""
        return [roll.load for roll in self.rolls]

    def total(self) -> KindStats:
        """The responses of all kinds."""
        found = [each for load in self.loads for each in load.kinds.values()]
        return KindStats(
            sum(each.accepted for each in found),
            sum(each.rejected for each in found),
            sum(each.other for each in found),
        )


class Fleet:
    """Two gateways that serve, and a free slot for the successor of one."""

    def __init__(self, folder: Path, store: StoreServer, catalogue: Path) -> None:
        self.ports = {name: free_port() for name in _NAMES}
        self.store = store
        self._folder, self._catalogue = folder, catalogue
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started = 0

    @property
    def serving(self) -> list[str]:
        """Names of the gateways that run, the oldest first."""
        return list(self._processes)

    def start(self, balancer: Balancer) -> str:
        """Start a gateway in the free slot and wait until the balancer uses it; returns its name."""
        name = next(name for name in _NAMES if name not in self._processes)
        self._started += 1
        with (self._folder / f"{name}-{self._started}.log").open("wb") as log:
            process = start_child(
                ["nice", "-n", str(_LOWEST), *peakgate_command(), "serve", *self._options(name)], log=log
            )
        self._processes[name] = process
        await_condition(lambda: name in balancer.up(), within_s=_READY_WITHIN_S)
        for pid in (process.pid, *descendants(process.pid)):
            os.setpriority(os.PRIO_PROCESS, pid, 0)
        return name

    def retire_oldest(self) -> None:
        """Stop the oldest gateway as an orchestrator does: SIGTERM, and wait for its end."""
        name = self.serving[0]
        process = self._processes.pop(name)
        process.terminate()
        if code := process.wait(_READY_WITHIN_S):
            raise HarnessError(f"gateway {name} ended with {code}; its log is in {self._folder}")

    def stop(self) -> None:
        """Stop all that run."""
        while self._processes:
            stop_child(self._processes.pop(self.serving[0]))

    def _options(self, name: str) -> list[str]:
        words = ["--host", "127.0.0.1", "--port", str(self.ports[name]), "--admin-port", "0", "--workers", "1"]
        words += ["--gateways", "2", "--store-url", self.store.url, "--catalog", str(self._catalogue)]
        words += ["--data-dir", str(self._folder / name), "--key-file", str(self._folder / "keys.toml")]
        return [*words, "--drain-grace", str(GRACE_S), "--store-timeout", "2"]


class Generator:
    """The process of the open-loop load generator; a load is begun and its result awaited later."""

    def __init__(self, process: "subprocess.Popen[bytes]", setup: Setup) -> None:
        self._process = process
        self._say(setup)

    def begin(self, rate: float, seconds: float) -> None:
        """Generate one load in the background."""
        self._say(Load(rate, seconds))

    def result(self) -> LoadStats:
        """The result of the load that was begun last."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise HarnessError("the load generator ended; its output is above")
        return msgspec.json.decode(line, type=LoadStats)

    def _say(self, value: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(value) + b"\n")
        self._process.stdin.flush()


def main() -> int:
    """Entry point of `make bench-rolling`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.rolling", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="3 rolls, results not written")
    parser.add_argument("--rolls", type=int, help="gateways replaced (default: 20)")
    args = parser.parse_args()
    rolls = args.rolls or (3 if args.quick else 20)
    return exit_code_of("rolling", lambda: measure(rolls=rolls, keep=not args.quick))


def measure(*, rolls: int, keep: bool) -> list[Result]:
    """Measure, print the results and, if wanted, write results/rolling.json."""
    busy_before = busy_cores(over_s=1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peakgate-bench-")))
        store = stack.enter_context(store_server(folder / "store"))
        catalogue = stack.enter_context(sale_catalogue())
        fleet = Fleet(folder, store, catalogue)
        balancer = stack.enter_context(balancing(folder, fleet.ports, fall=2, check_timeout_s=5))
        stack.callback(fleet.stop)
        outcome = _run(fleet, balancer, rolls)
        if found := audit_findings("--store-url", store.url):
            raise HarnessError(f"the audit at the end failed: {found}")
    results = results_of(outcome)
    print(results_table(results))
    if keep:
        settings = {
            "rolls": rolls,
            "connections": CONNECTIONS,
            "drain_grace_s": GRACE_S,
            "busy_cores_before": round(busy_before, 2),
        }
        parts = {
            "rolls_s": [round(roll.took_s, 1) for roll in outcome.rolls],
            "balancer_errors": outcome.balancer_errors,
        }
        print(f"\nwritten to {write_results('rolling', settings, parts, results)}")
    return results


def results_of(outcome: Outcome) -> list[Result]:
    """The failures that a shopper would notice, each with the target 0, and the load."""
    total, seconds = outcome.total(), sum(load.seconds for load in outcome.loads)
    offered = sum(load.offered for load in outcome.loads) / seconds if seconds else 0.0
    return [
        Result("requests without a response", sum(load.lost for load in outcome.loads), "", 0),
        Result("responses 429 and 503", total.rejected, "", 0),
        Result("other responses than 2xx", total.other, "", 0),
        Result("connections that a gateway refused or reset", _broken(outcome), "", 0),
        Result("orders lost or doubled", abs(outcome.stock_taken - outcome.orders_accepted), "", 0),
        Result("rolls", len(outcome.rolls), ""),
        Result("rolls that outlasted their load", sum(roll.took_s > LOAD_S for roll in outcome.rolls), "", 0),
        Result("orders accepted", outcome.orders_accepted, ""),
        Result("requests answered", total.accepted, ""),
        Result(
            "load", offered, "requests/s", note=f"{offered / outcome.capacity_per_s:.0%} of the most that was served"
        ),
        Result("p99, the worst roll", max((load.p99_ms for load in outcome.loads), default=0.0), "ms"),
    ]


def _broken(outcome: Outcome) -> int:
    return outcome.balancer_errors["connections"] + outcome.balancer_errors["responses"]


def _run(fleet: Fleet, balancer: Balancer, rolls: int) -> Outcome:
    for _ in range(2):
        fleet.start(balancer)
    # Paid for, so that each order takes its unit of stock for good.
    mix = prepare_mix(balancer.port, orders=6000 * (rolls + 10), payment="tok_ok")
    setup = Setup(balancer.port, CONNECTIONS, mix)
    stock_before = _stock(fleet.store)
    with _generating(setup) as generator:
        capacity, searched = find_capacity(fleet, balancer, generator)
        errors_before = balancer.errors()
        done = []
        for number in range(rolls):
            done.append(_roll_under_load(fleet, balancer, generator, LOAD_SHARE * capacity))
            print(f"roll {number + 1} of {rolls}: {done[-1].took_s:.1f} s, {_line_of(done[-1].load)}", file=sys.stderr)
        errors = {name: count - errors_before[name] for name, count in balancer.errors().items()}
    accepted = sum(roll.load.kinds[CHECKOUT].accepted for roll in (*searched, *done))
    _await_orders(fleet.store, stock_before - accepted)
    return Outcome(capacity, tuple(done), errors, accepted, stock_before - _stock(fleet.store))


def find_capacity(fleet: Fleet, balancer: Balancer, generator: Generator) -> tuple[float, list[Roll]]:
    """The most requests a second that were answered while a gateway is replaced, and all rolls that were tried."""
    rate, tried = _FIRST_RATE, list[Roll]()
    while True:
        tried.append(_roll_under_load(fleet, balancer, generator, rate))
        load = tried[-1].load
        print(f"{rate:,.0f}/s: {_line_of(load)}", file=sys.stderr)
        if load.accepted < load.offered * (1 - _MAX_FAILED):
            break
        rate *= _STEP
    if len(tried) < 2:
        raise HarnessError(f"the gateways cannot serve {_FIRST_RATE:,.0f} requests a second here")
    return tried[-2].load.accepted / tried[-2].load.seconds, tried


def _roll_under_load(fleet: Fleet, balancer: Balancer, generator: Generator, rate: float) -> Roll:
    """Replace the oldest gateway while the load runs."""
    generator.begin(rate, LOAD_S)
    began = time.monotonic()
    fleet.start(balancer)
    fleet.retire_oldest()
    took_s = time.monotonic() - began
    return Roll(generator.result(), took_s)


def _await_orders(store: StoreServer, expected_stock: int) -> None:
    """Wait until the orders have taken their stock; the rest counts as lost."""
    with suppress(HarnessError):
        await_condition(lambda: _stock(store) <= expected_stock, within_s=_ORDERS_WITHIN_S)


def _line_of(load: LoadStats) -> str:
    return f"{load.accepted} accepted, {load.rejected} rejected, {load.lost} lost, p99 {load.p99_ms:.0f} ms"


def _stock(store: StoreServer) -> int:
    """Units of all products together, as the store has them: listings of products may be older."""
    with store.client() as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(PRODUCTS):
            pipeline.hget(product_key(Sku(f"SKU-{number:04}")), "stock")
        return sum(int(units) for units in pipeline.execute())


@contextmanager
def _generating(setup: Setup) -> Iterator[Generator]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load.open_loop"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield Generator(process, setup)
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    sys.exit(main())
