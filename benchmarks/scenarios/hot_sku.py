"""A drop: a crowd that checks out 1,000 pieces of one product again and again, beside orders of other products.

`python -m benchmarks.scenarios.hot_sku [--quick]` starts the gateway with two workers. wrk sends the crowd's checkouts as fast as they
are refused; of the carts that get a piece 3 % are declined by the payment and 5 % cancelled by the shopper, and their pieces
are for sale again. It ends when all pieces are sold, and with an audit of the books.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from benchmarks.harness.books import check_books, stock_up
from benchmarks.harness.command import check_cores, exit_code_of
from benchmarks.harness.gateway_process import Api, GatewayProcess, HarnessError, checkout_of, serving
from benchmarks.harness.processes import cpu_time
from benchmarks.harness.results import Result, results_table, write_results
from benchmarks.load.constant_rate import RunStats, constant_rate
from benchmarks.load.wrk import Call, LoadResult, fill_carts, find_wrk, play
from cart.ids import order_id_for
from cart.model import CartId, OrderId, Sku
from cart.sku_keys import holds_key, product_key
from checkout.order_status import OrderStatus
from checkout.stored import ALL_PARTITIONS, status_key

# A busy machine must not have checkouts shed: the crowd is what is measured.
CONFIGURATION: Final = "[shedding]\nenabled = false\n"
CONNECTIONS: Final = 64
DECLINED_SHARE: Final = 0.03
CANCELLED_SHARE: Final = 0.05
# How much slower others may be while the crowd is there.
MAX_MOVE: Final = 1.2
# After the last piece came back.
SOLD_WITHIN_S: Final = 2.0
PATIENCE_S: Final = 120.0
_POLL_S: Final = 0.05
# Those that change their mind do so before they have paid.
_PAYS_SLOWLY: Final = "tok_slow"


@dataclass(frozen=True, slots=True)
class Options:
    """Pieces, carts of the crowd, orders of others a second, the seconds of each phase, and whether results are written."""

    pieces: int = 1_000
    crowd: int = 20_000
    rate: int = 50
    seconds: int = 15
    keep: bool = True


QUICK: Final = Options(pieces=100, crowd=2_000, rate=20, seconds=3, keep=False)


def main() -> int:
    """Entry point of `make bench-hot-sku`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.hot_sku", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="100 pieces, results not written: for trying it out")
    args = parser.parse_args()
    return exit_code_of("hot-sku", lambda: measure(QUICK if args.quick else Options()))


def measure(options: Options) -> None:
    """Measure, print the results and, if wanted, write results/hot_sku.json."""
    check_cores(0)
    find_wrk()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="peakgate-bench-"))
        configuration = Path(folder, "peakgate.toml")
        configuration.write_text(CONFIGURATION)
        gateway = stack.enter_context(serving("--workers", "2", "--store-timeout", "5", "--config", str(configuration)))
        results = Drop(gateway, options).results()
        check_books(gateway)
        build = gateway.build()
    print(f"the gateway ran {build}", results_table(results), sep="\n\n")
    if options.keep:
        settings = {"build": build, "pieces": options.pieces, "crowd": options.crowd, "rate": options.rate}
        print(f"\nwritten to {write_results('hot_sku', settings, {}, results)}")


class Drop:
    """The product that the crowd wants, the crowd, and the others."""

    def __init__(self, gateway: GatewayProcess, options: Options) -> None:
        self._gateway = gateway
        self._options = options
        self._store = gateway.store
        with Api(gateway.port) as api:
            hot, *others = api.skus(101)
        self._hot = Sku(hot)
        stock_up(gateway, map(Sku, others), 10**9)
        stock_up(gateway, [self._hot], options.pieces)
        count = options.rate * (2 * options.seconds + 2)
        self._others = [call.encode() for call, _ in self._carts(others, count, ["tok_ok"])]
        payments = random.Random(1).choices(
            ["tok_ok", "tok_declined", _PAYS_SLOWLY],
            [1 - DECLINED_SHARE - CANCELLED_SHARE, DECLINED_SHARE, CANCELLED_SHARE],
            k=options.crowd,
        )
        crowd = self._carts([hot], options.crowd, payments)
        self._crowd = [call for call, _ in crowd]
        self._orders = {order_id for _, order_id in crowd}
        self._changes_mind = {
            order_id for (_, order_id), pays in zip(crowd, payments, strict=True) if pays == _PAYS_SLOWLY
        }
        self._cancelled = 0

    def _carts(self, skus: Sequence[str], count: int, tokens: Sequence[str]) -> list[tuple[Call, OrderId]]:
        """New carts with one unit each: the checkout of each, and the order that it becomes."""
        before = set(self._store.scan_iter("*}c:*", count=1000))
        batches = [orjson.dumps([{"sku": sku, "quantity": 1}]) for sku in skus]
        fill_carts(self._gateway.port, count, batches, connections=16)
        keys = [key for key in self._store.scan_iter("*}c:*", count=1000) if key not in before]
        pipeline = self._store.pipeline()
        for key in keys:
            pipeline.hget(key, "\1v")
        made = []
        for place, (key, version) in enumerate(zip(keys, pipeline.execute(), strict=True)):
            cart = CartId(key.decode().partition("c:")[2])
            body = orjson.dumps(checkout_of(cart, tokens[place % len(tokens)]))
            call = Call("POST", "/v1/checkout", body, (("Idempotency-Key", cart),))
            made.append((call, order_id_for(cart, int(version))))
        return made

    def results(self) -> list[Result]:
        """Those of all phases."""
        alone = asyncio.run(self._ordinary())
        returns = Returns(self)
        with returns:
            beside, load = asyncio.run(self._beside_the_crowd())
            rounds = self._sell_the_rest()
        refusals = self._refusals()
        sold = self._sold()
        before, during = alone.percentile_ms(99), beside.percentile_ms(99)
        rate = load.requests / load.seconds
        return [
            Result(
                "pieces sold too many or too few", abs(sold - self._options.pieces), "", 0, f"{sold:,} orders completed"
            ),
            Result("pieces left for sale", self._available(), "", 0),
            Result("orders of others that failed", alone.wrong + beside.wrong, "", 0),
            Result("p99 of orders of others beside the crowd, to alone", during / before, "ratio", MAX_MOVE),
            Result("p99 of orders of others, alone", before, "ms"),
            Result("p99 of orders of others, beside the crowd", during, "ms"),
            Result("demand of the crowd", rate, "checkouts/s", note=f"{load.errors:,} refusals"),
            Result("orders cancelled by shoppers", self._cancelled, ""),
            Result(f"crowds of {SOLD_WITHIN_S:g} s until all were sold", rounds, ""),
            *refusals,
        ]

    async def _ordinary(self) -> RunStats:
        count = len(self._others) // 2
        mine, self._others = self._others[:count], self._others[count:]
        rate, seconds = self._options.rate, self._options.seconds
        return await constant_rate(self._gateway.port, mine, rate=rate, seconds=seconds, status=b"202")

    async def _beside_the_crowd(self) -> tuple[RunStats, LoadResult]:
        crowd = asyncio.to_thread(self._come, self._options.seconds)
        return await asyncio.gather(self._ordinary(), crowd)

    def _come(self, seconds: float) -> LoadResult:
        """The crowd checks out for so many seconds."""
        return play(self._gateway.port, [self._crowd], seconds=seconds, connections=CONNECTIONS)

    def _sell_the_rest(self) -> int:
        """The crowd comes again once all orders have ended, until no piece is left; how often it had to."""
        rounds, end = 0, time.monotonic() + PATIENCE_S
        while True:
            self._await_ends()
            if self._available() == 0:
                return rounds
            if time.monotonic() > end:
                raise HarnessError(f"{self._available()} pieces are not sold")
            self._come(SOLD_WITHIN_S)
            rounds += 1

    def _await_ends(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while self._store.hlen(holds_key(self._hot)):
            if time.monotonic() > end:
                raise HarnessError("orders of the drop do not end")
            time.sleep(_POLL_S)

    def _refusals(self) -> list[Result]:
        """What refusals cost once all is sold: those that come back are the carts without an order."""
        wanting = [call for call in self._crowd if not self._is_ordered(call)]
        before = {pid: cpu_time(pid) for pid in self._gateway.workers()}
        commands_before = self._commands()
        load = play(self._gateway.port, [wanting], seconds=self._options.seconds, connections=CONNECTIONS)
        commands = self._commands() - commands_before
        used_s = sum(cpu_time(pid).since(at).total_s for pid, at in before.items())
        if load.errors != load.requests:
            raise HarnessError(f"{load.requests - load.errors} checkouts of a sold-out product were accepted")
        return [
            Result("refusals a second once all is sold", load.requests / load.seconds, "checkouts/s"),
            Result("script calls of the store for a refusal", commands / load.requests, ""),
            Result("CPU of the edge for a refusal", used_s / load.requests * 1e6, "µs"),
        ]

    def _is_ordered(self, call: Call) -> bool:
        cart = call.headers[0][1]
        return bool(self._store.hexists(f"{{{cart[:2]}}}c:{cart}", "\1o"))

    def _commands(self) -> int:
        """Script calls since the store was started, without those that scripts make."""
        stats = self._store.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))

    def _available(self) -> int:
        return int(self._store.hget(product_key(self._hot), "stock") or 0)

    def _sold(self) -> int:
        """The orders of the crowd that are completed."""
        pipeline = self._store.pipeline()
        for partition in ALL_PARTITIONS:
            pipeline.zrange(status_key(partition, OrderStatus.COMPLETED), 0, -1)
        completed: set[bytes] = {each for page in pipeline.execute() for each in page}
        return sum(order_id.encode() in completed for order_id in self._orders)

    def cancel_some(self) -> None:
        """Cancel the orders of those who have changed their mind."""
        with Api(self._gateway.port) as api:
            holding = set(self._store.hkeys(holds_key(self._hot)))
            for order_id in [each for each in self._changes_mind if each.encode() in holding]:
                self._changes_mind.discard(order_id)
                self._cancelled += api.send("POST", f"/v1/orders/{order_id}/cancel").status in {200, 202}


class Returns:
    """A thread that has shoppers cancel their orders."""

    def __init__(self, drop: Drop) -> None:
        self._drop = drop
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(_POLL_S):
            self._drop.cancel_some()


if __name__ == "__main__":
    sys.exit(main())
