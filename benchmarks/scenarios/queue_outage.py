"""The queue hangs for a minute under a constant rate of checkouts: their latency, and the orders that it gets afterwards.

`python -m benchmarks.scenarios.queue_outage [--quick]`. The queue is a server with the protocol of SQS that is paused with
SIGSTOP, which is worse than one that refuses connections.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from benchmarks.harness.books import check_books, stock_up
from benchmarks.harness.command import check_cores, exit_code_of
from benchmarks.harness.gateway_process import Api, GatewayProcess, checkout_of, serving
from benchmarks.harness.processes import pin
from benchmarks.harness.results import Result, number, results_table, write_results
from benchmarks.hot_path.rows import Server, serving_module
from benchmarks.load.constant_rate import RunStats, constant_rate
from benchmarks.load.wrk import Call, fill_carts, find_wrk
from cart.model import Sku

SERVER_CORE, LOAD_CORE = 0, 1
# A busy machine must not have checkouts shed: each cart is ordered once.
CONFIGURATION: Final = "[shedding]\nenabled = false\n"
# The most that the 99th percentile of checkouts may move while the queue is away.
MAX_MOVE: Final = 1.5
CATCH_UP_S: Final = 120.0
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Options:
    """Checkouts in a second, and the seconds before, during and after the outage."""

    rate: int = 100
    before_s: int = 30
    away_s: int = 60
    after_s: int = 20
    keep: bool = True


QUICK: Final = Options(rate=30, before_s=5, away_s=10, after_s=5, keep=False)


def main() -> int:
    """Entry point of `make bench-queue-outage`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.queue_outage", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="ten seconds, results not written: for trying it out")
    args = parser.parse_args()
    return exit_code_of("queue-outage", lambda: measure(QUICK if args.quick else Options()))


def measure(options: Options) -> None:
    """Measure, print the results and, if wanted, write results/queue_outage.json."""
    check_cores(SERVER_CORE, LOAD_CORE)
    find_wrk()
    os.sched_setaffinity(0, {LOAD_CORE})
    os.environ |= {"AWS_ACCESS_KEY_ID": "trial", "AWS_SECRET_ACCESS_KEY": "trial", "NO_PROXY": "127.0.0.1"}
    with ExitStack() as stack:
        queue = stack.enter_context(serving_module("benchmarks.upstreams.sqs_recorder"))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="peakgate-bench-"))
        configuration = Path(folder, "peakgate.toml")
        configuration.write_text(CONFIGURATION)
        address = f"http://127.0.0.1:{queue.port}"
        gateway = stack.enter_context(
            serving(
                *("--workers", "1", "--role", "edge", "--store-timeout", "5", "--config", str(configuration)),
                *("--queue-url", f"{address}/000000000000/orders", "--aws-endpoint-url", address),
                *("--aws-region", "eu-west-1"),
            )
        )
        for pid in gateway.workers():
            pin(pid, SERVER_CORE)
        results = _results(gateway, queue, options)
        check_books(gateway)
    print(results_table(results))
    if options.keep:
        settings = {"rate": options.rate, "seconds": [options.before_s, options.away_s, options.after_s]}
        print(f"\nwritten to {write_results('queue_outage', settings, {}, results)}")


def _results(gateway: GatewayProcess, queue: Server, options: Options) -> list[Result]:
    phases = {"before": options.before_s, "away": options.away_s, "after": options.after_s}
    calls = _checkouts(gateway, options.rate * (sum(phases.values()) + len(phases)))
    seen: dict[str, RunStats] = {}
    used = 0
    for phase, seconds in phases.items():
        if phase == "away":
            os.kill(queue.pid, signal.SIGSTOP)
        try:
            own = calls[used : used + options.rate * seconds + options.rate]
            seen[phase] = asyncio.run(
                constant_rate(gateway.port, own, rate=options.rate, seconds=seconds, status=b"202")
            )
        finally:
            os.kill(queue.pid, signal.SIGCONT)
        used += len(seen[phase].took_s)
        print(f"{phase}: p99 {number(seen[phase].percentile_ms(99))} ms", file=sys.stderr)
    accepted = sum(len(each.took_s) - each.wrong for each in seen.values())
    caught_up_s, messages, orders = _caught_up(queue, accepted)
    before, away = seen["before"].percentile_ms(99), seen["away"].percentile_ms(99)
    return [
        Result("checkouts that were refused or got no response", sum(each.wrong for each in seen.values()), "", 0),
        Result("p99 of checkouts while the queue is away, to before", away / before, "ratio", MAX_MOVE),
        *(Result(f"p99 of checkouts, {phase}", stats.percentile_ms(99), "ms") for phase, stats in seen.items()),
        Result("accepted orders that the queue did not get", accepted - orders, "", 0, f"of {accepted}"),
        Result("messages too many", messages - orders, ""),
        Result("all delivered after the last checkout", caught_up_s, "s"),
    ]


def _checkouts(gateway: GatewayProcess, count: int) -> Sequence[bytes]:
    """The requests that check out new carts of one line."""
    with Api(gateway.port) as api:
        skus = api.skus(100)
    stock_up(gateway, map(Sku, skus), 10**9)
    fill_carts(gateway.port, count, [orjson.dumps([{"sku": sku, "quantity": 1}]) for sku in skus], connections=16)
    carts = [key.decode().partition("c:")[2] for key in gateway.store.scan_iter("*}c:*", count=1000)]
    return [
        Call("POST", "/v1/checkout", orjson.dumps(checkout_of(cart)), (("Idempotency-Key", cart),)).encode()
        for cart in carts
    ]


def _caught_up(queue: Server, accepted: int) -> tuple[float, int, int]:
    """Seconds until the queue had all orders, or until `CATCH_UP_S`; its messages and orders then."""
    began = time.monotonic()
    with Api(queue.port) as api:
        while True:
            seen = api.call("GET", "/")
            waited_s = time.monotonic() - began
            if seen["orders"] >= accepted or waited_s > CATCH_UP_S:
                return waited_s, seen["messages"], seen["orders"]
            time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(main())
