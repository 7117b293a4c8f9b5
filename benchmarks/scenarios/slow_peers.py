"""The effect of slow clients of an upstream on its other clients: their p99 and their errors.

`python -m benchmarks.scenarios.slow_peers [--quick]` starts the gateway with one worker, and an upstream. Three hundred clients upload at 1 KB/s,
or do not read a response of 1 MB, from one address or from three hundred, while others request a small page at a constant rate.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop

from benchmarks.harness.command import check_cores, exit_code_of
from benchmarks.harness.gateway_process import HarnessError, await_port, serving, start_child, stop_child
from benchmarks.harness.ports import free_port
from benchmarks.harness.processes import pin
from benchmarks.harness.progress import show_steps
from benchmarks.harness.results import Result, results_table, write_results
from benchmarks.hot_path.measure import LOAD_CORE, SERVER_CORE
from benchmarks.load.constant_rate import RunStats, constant_rate

PEERS: Final = 300
PAGES_PER_S: Final = 500
# Responses of the peers that are rejected arrive within this time after they have begun.
SETTLE_S: Final = 3.0
CONFIGURATION: Final = """\
[identity]
trusted_proxies = ["127.0.0.0/8"]

[[upstreams]]
name = "shop"
targets = ["http://127.0.0.1:{port}"]

[[routes]]
prefix = "/shop/"
upstream = "shop"
"""
_PAGE: Final = b"GET /shop/page HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of slow client; `upload_bytes` is 0 for those that do not read. `addresses` is 0 for none."""

    name: str
    addresses: int
    upload_bytes: int = 0


CASES: Final = (
    Case("no slow client", 0),
    Case("uploads of 1 MB, one address", 1, 1_000_000),
    Case("uploads of 1 MB, each its own address", PEERS, 1_000_000),
    Case("uploads of 20 KB, one address", 1, 20_000),
    Case("1 MB not read, one address", 1),
    Case("1 MB not read, each its own address", PEERS),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the other clients and the slow ones got."""

    others: RunStats
    peers: Counter[str]


def main() -> int:
    """Entry point of `make bench-slow-peers`; 0 when everything could be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.slow_peers", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="two seconds of each, results not written")
    args = parser.parse_args()
    return exit_code_of("slow_peers", lambda: measure(seconds=2 if args.quick else 10, keep=not args.quick))


def measure(*, seconds: float, keep: bool) -> list[Result]:
    """Measure, print the results and, if wanted, write results/slow_peers.json."""
    check_cores(SERVER_CORE, LOAD_CORE)
    os.sched_setaffinity(0, {LOAD_CORE})
    outcomes: dict[Case, Outcome] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peakgate-bench-")))
        step = stack.enter_context(show_steps(len(CASES)))
        for case in CASES:
            outcomes[case] = _run(case, folder, seconds)
            step(case.name)
    results = [result for case, outcome in outcomes.items() for result in results_of(case, outcome)]
    print(results_table(results))
    if keep:
        settings = {"peers": PEERS, "pages_per_s": PAGES_PER_S, "seconds": seconds}
        parts = {"peers": {case.name: dict(outcome.peers) for case, outcome in outcomes.items()}}
        print(f"\nwritten to {write_results('slow_peers', settings, parts, results)}")
    return results


def results_of(case: Case, outcome: Outcome) -> list[Result]:
    """The p99 and the errors of the other clients."""
    total = len(outcome.others.took_s)
    peers = ", ".join(f"{count} {status}" for status, count in sorted(outcome.peers.items()))
    note = f"the slow ones got {peers}" if peers else ""
    return [
        Result(f"beside {case.name}: errors of {total:,} pages", outcome.others.wrong, "", 0, note),
        Result(f"beside {case.name}: p99 of a page", outcome.others.percentile_ms(99), "ms"),
    ]


def _run(case: Case, folder: Path, seconds: float) -> Outcome:
    """One case, with a gateway and an upstream of its own."""
    with ExitStack() as stack:
        upstream_port = free_port()
        upstream = start_child([sys.executable, "-m", "benchmarks.upstreams.pages", str(upstream_port)])
        stack.callback(stop_child, upstream)
        await_port(upstream, upstream_port)
        configuration = folder / "peakgate.toml"
        configuration.write_text(CONFIGURATION.format(port=upstream_port))
        options = ("--workers", "1", "--role", "edge", "--config", str(configuration))
        gateway = stack.enter_context(serving(*options))
        (worker,) = gateway.workers()
        pin(worker, SERVER_CORE)
        uvloop.run(constant_rate(gateway.port, [_PAGE], rate=PAGES_PER_S, seconds=1))
        peers = _start_peers(stack, gateway.port, case) if case.addresses else None
        others = uvloop.run(constant_rate(gateway.port, [_PAGE], rate=PAGES_PER_S, seconds=seconds))
        return Outcome(others, _statuses(peers) if peers else Counter())


def _start_peers(stack: ExitStack, port: int, case: Case) -> subprocess.Popen[Any]:
    path = "/shop/upload" if case.upload_bytes else "/shop/long"
    numbers = (PEERS, case.addresses, case.upload_bytes)
    command = [sys.executable, "-m", "benchmarks.load.slow_peers", str(port), path, *map(str, numbers)]
    peers = start_child(command, stdout=subprocess.PIPE)
    stack.callback(stop_child, peers)
    assert peers.stdout is not None
    if peers.stdout.readline().strip() != b"ready":
        raise HarnessError("the slow clients did not begin")
    time.sleep(SETTLE_S)
    return peers


def _statuses(peers: subprocess.Popen[Any]) -> Counter[str]:
    peers.send_signal(signal.SIGTERM)
    output, _ = peers.communicate()
    return Counter(orjson.loads(output))


if __name__ == "__main__":
    sys.exit(main())
