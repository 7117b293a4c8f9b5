"""The effect of a failing upstream on other routes: the p99 of a cart read beside it, to that beside a healthy one.

`python -m benchmarks.scenarios.failing_upstream [--quick]` starts the gateway with one worker on one core, and on another the store, the
upstream, its clients and the reads that are measured, both at constant rates far below the capacity of a worker. Each failure
is measured in turn with a healthy upstream, so that a machine that is slower for a while does not change the ratios. Each is
measured as the gateway is by default, and `exposed`: with a breaker and a passive health check that never cut it off.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import orjson
import uvloop

from benchmarks.harness.command import check_cores, exit_code_of
from benchmarks.harness.gateway_process import Api, HarnessError, await_port, serving, start_child, stop_child
from benchmarks.harness.ports import free_port
from benchmarks.harness.processes import busy_cores, memory, pin
from benchmarks.harness.progress import show_steps
from benchmarks.harness.results import Result, number, results_table, write_results
from benchmarks.hot_path.measure import LOAD_CORE, MAX_BUSY_CORES, SERVER_CORE
from benchmarks.load.constant_rate import RunStats, constant_rate
from benchmarks.load.leaving_clients import Behaviour
from benchmarks.upstreams.failing import EXPOSED

MAX_RATIO: Final = 1.2
READS_PER_S: Final = 2000
CLIENTS_PER_S: Final = 100
TIMEOUT_S: Final = 2.0
# The clients wait a little longer than the gateway does.
PATIENCE_S: Final = 2.5
CARTS, LINES = 200, 5
_NEVER: Final = 1_000_000_000
# The upstream and its clients share the core with the reads that are measured, and must not delay them.
_NICE: Final = ("nice", "-n", "19")
_UPSTREAM: Final = """\
[[upstreams]]
name = "{name}"
targets = ["http://127.0.0.1:{port}"]
failures_to_eject = {failures_to_eject}

[[routes]]
prefix = "/{name}/"
upstream = "{name}"
timeout_s = {timeout_s}
"""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of the upstream; `mode` is its name there. The clients wait for `patience_s` and read at `bytes_per_s`."""

    name: str
    mode: str
    patience_s: float = PATIENCE_S
    bytes_per_s: float | None = None
    # None: the result is for information.
    target: float | None = MAX_RATIO


FAILURES: Final = (
    Failure("hangs", "hangs"),
    Failure("resets", "resets"),
    Failure("closes without a response", "says-nothing"),
    Failure("dribbles its head", "dribbles-its-head"),
    Failure("dribbles its body", "dribbles-its-body"),
    Failure("sends garbage", "sends-garbage"),
    Failure("sends less than its Content-Length", "body-too-short"),
    Failure("sends more than its Content-Length", "body-too-long"),
    # Some 50 at a time.
    Failure("sends 10 GB, each read at 1 MB/s for 0.5 s", "pours", patience_s=0.5, bytes_per_s=1e6),
    # This saturates a core, so that there is no target.
    Failure("sends 10 GB, read as fast as it comes for 0.02 s", "pours", patience_s=0.02, target=None),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A failure, with the gateway's protections off (exposed) or as by default."""

    failure: Failure
    is_exposed: bool

    @property
    def name(self) -> str:
        """The name in the report."""
        return f"{self.failure.name}, {'exposed' if self.is_exposed else 'as by default'}"

    @property
    def path(self) -> str:
        """The path that the clients of the failing upstream request."""
        return f"/{self.failure.mode}{EXPOSED if self.is_exposed else ''}/page"


@dataclass(frozen=True, slots=True)
class Pair:
    """A run beside the healthy upstream and one beside the failing one, with the statuses that clients of the latter received."""

    healthy: RunStats
    failing: RunStats
    statuses: Counter[str]


def main() -> int:
    """Entry point of `make bench-failing-upstream`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.failing_upstream", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="one round of a second each, results not written")
    parser.add_argument("--rounds", type=int, help="rounds (default: 5)")
    parser.add_argument("--seconds", type=float, help="seconds of each run, of which there are 40 a round (default: 3)")
    args = parser.parse_args()
    rounds, seconds = args.rounds or (1 if args.quick else 5), args.seconds or (1 if args.quick else 3)
    return exit_code_of("failing_upstream", lambda: measure(rounds=rounds, seconds=seconds, keep=not args.quick))


def measure(*, rounds: int, seconds: float, keep: bool, cases: Sequence[Case] | None = None) -> list[Result]:
    """Measure, print the results and, if wanted, write results/failing_upstream.json."""
    check_cores(SERVER_CORE, LOAD_CORE)
    busy_before = busy_cores(over_s=1)
    if busy_before > MAX_BUSY_CORES:
        print(f"{busy_before:.1f} cores are busy with something else: the results will be wrong", file=sys.stderr)
    cases = cases or [Case(failure, is_exposed) for failure in FAILURES for is_exposed in (False, True)]
    # Children inherit this; only the worker is moved to a core of its own.
    os.sched_setaffinity(0, {LOAD_CORE})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peakgate-bench-")))
        upstream_port = free_port()
        upstream = start_child([*_NICE, sys.executable, "-m", "benchmarks.upstreams.failing", str(upstream_port)])
        stack.callback(stop_child, upstream)
        await_port(upstream, upstream_port)
        configuration = folder / "peakgate.toml"
        configuration.write_text(configuration_of(cases, upstream_port, log=folder / "access.log"))
        options = ("--workers", "1", "--role", "edge", "--config", str(configuration))
        gateway = stack.enter_context(serving(*options))
        (worker,) = gateway.workers()
        pin(worker, SERVER_CORE)
        runs = Runs(gateway.port, _reads(gateway.port), seconds)
        runs.beside("/healthy/page", PATIENCE_S, None)
        memory_before = memory(worker).rss
        pairs = _pairs(runs, cases, rounds)
        grown = memory(worker).rss - memory_before
    results = [result_of(case, pairs[case]) for case in cases]
    wrong = sum(pair.failing.wrong + pair.healthy.wrong for each in pairs.values() for pair in each)
    results.append(Result("cart reads that were rejected or lost", wrong, "", 0))
    results.append(Result("the worker's memory grew by", grown / 1e6, "MB"))
    print(results_table(results))
    if keep:
        settings = {
            "rounds": rounds,
            "seconds": seconds,
            "reads_per_s": READS_PER_S,
            "clients_per_s": CLIENTS_PER_S,
            "busy_cores_before": round(busy_before, 2),
        }
        rows = [_row(case, pairs[case]) for case in cases]
        print(f"\nwritten to {write_results('failing_upstream', settings, {'cases': rows}, results)}")
    return results


class Runs:
    """Cart reads at a constant rate, beside clients of another route."""

    def __init__(self, port: int, reads: Sequence[bytes], seconds: float) -> None:
        self._port = port
        self._reads = reads
        self._seconds = seconds

    def beside(self, path: str, patience_s: float, bytes_per_s: float | None) -> tuple[RunStats, Counter[str]]:
        """One run: the reads, and the statuses of the other clients."""
        behaviour = Behaviour(CLIENTS_PER_S, self._seconds, patience_s, bytes_per_s)
        numbers = [
            str(each) for each in (behaviour.rate, behaviour.seconds, patience_s, bytes_per_s) if each is not None
        ]
        command = [*_NICE, sys.executable, "-m", "benchmarks.load.leaving_clients", str(self._port), path, *numbers]
        clients = start_child(command, stdout=subprocess.PIPE)
        try:
            seen = uvloop.run(constant_rate(self._port, self._reads, rate=READS_PER_S, seconds=self._seconds))
            output, _ = clients.communicate(timeout=self._seconds + 30)
        except subprocess.TimeoutExpired as error:
            raise HarnessError(f"the shoppers of {path} do not come to an end") from error
        finally:
            stop_child(clients)
        if not seen.took_s or not output:
            raise HarnessError(f"beside {path} there was no response")
        return seen, Counter(orjson.loads(output))

    def pair(self, case: Case) -> Pair:
        """Beside the healthy upstream, then beside the failing one, with the same clients at the same rate."""
        behaviour = case.failure.patience_s, case.failure.bytes_per_s
        healthy, _ = self.beside("/healthy/page", *behaviour)
        failing, statuses = self.beside(case.path, *behaviour)
        return Pair(healthy, failing, statuses)


def configuration_of(cases: Sequence[Case], upstream_port: int, *, log: Path) -> str:
    """The TOML that forwards a prefix for each case to the upstream, each with a breaker of its own."""
    modes = dict.fromkeys(case.failure.mode for case in cases)
    parts = [f"[access_log]\nfile = {orjson.dumps(str(log)).decode()}\n", _forward("healthy", upstream_port, False)]
    for mode in modes:
        parts += [_forward(mode, upstream_port, False), _forward(mode, upstream_port, True)]
    return "\n".join(parts)


def _forward(mode: str, port: int, is_exposed: bool) -> str:
    name = mode + EXPOSED if is_exposed else mode
    table = _UPSTREAM.format(
        name=name,
        port=port,
        timeout_s=TIMEOUT_S,
        failures_to_eject=_NEVER if is_exposed else 5,
    )
    return table + (f"\n[breaker.{name}]\nmin_calls = {_NEVER}\n" if is_exposed else "")


def result_of(case: Case, pairs: Sequence[Pair]) -> Result:
    """The median of the rounds' ratios of the p99 of the reads."""
    ratio = median(pair.failing.percentile_ms(99) / pair.healthy.percentile_ms(99) for pair in pairs)
    beside = number(median(pair.failing.percentile_ms(99) for pair in pairs))
    alone = number(median(pair.healthy.percentile_ms(99) for pair in pairs))
    counts = sum((pair.statuses for pair in pairs), Counter[str]())
    statuses = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
    note = f"{beside} to {alone} ms; its clients got {statuses}"
    return Result(f"upstream {case.name}: p99 of the cart read", ratio, "ratio", case.failure.target, note)


def _pairs(runs: Runs, cases: Sequence[Case], rounds: int) -> dict[Case, list[Pair]]:
    pairs: dict[Case, list[Pair]] = {case: [] for case in cases}
    with show_steps(rounds * len(cases)) as step:
        for turn in range(1, rounds + 1):
            for case in cases:
                pair = runs.pair(case)
                pairs[case].append(pair)
                p99s = f"{number(pair.failing.percentile_ms(99))} to {number(pair.healthy.percentile_ms(99))} ms"
                step(f"round {turn} of {rounds}: {case.name}: {p99s}")
    return pairs


def _row(case: Case, pairs: Sequence[Pair]) -> dict[str, Any]:
    return {
        "name": case.name,
        "p99_ms_by_round": [round(pair.failing.percentile_ms(99), 3) for pair in pairs],
        "healthy_p99_ms_by_round": [round(pair.healthy.percentile_ms(99), 3) for pair in pairs],
        "statuses": dict(sum((pair.statuses for pair in pairs), Counter[str]())),
    }


def _reads(port: int) -> list[bytes]:
    with Api(port) as api:
        skus = api.skus(LINES * 20)
        carts = [api.cart_of([skus[(cart + line * 20) % len(skus)] for line in range(LINES)]) for cart in range(CARTS)]
    return [f"GET /v1/carts/{cart_id} HTTP/1.1\r\nHost: shop.example\r\n\r\n".encode() for cart_id in carts]


if __name__ == "__main__":
    sys.exit(main())
