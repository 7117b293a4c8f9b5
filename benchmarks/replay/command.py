"""Replay a month of recorded trade against a running gateway, and check every order, unit and penny.

`peakgate replay FILE` reads the usable baskets of an Online Retail CSV (see `benchmarks.replay.retail_file`), lets a shopper
(see `benchmarks.replay.shopper`) buy each of them over HTTP, and prints a table. The gateway may be killed and started again
meanwhile: the shoppers retry.
"""

import argparse
import asyncio
import os
import secrets
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TextIO

import orjson
import uvloop

from benchmarks.replay.books import audit_findings
from benchmarks.replay.catalogue import CatalogueMismatch, ShopCatalogue, fetch_catalogue
from benchmarks.replay.client import ShopClient, Unreachable, open_session
from benchmarks.replay.progress import Counts, show_progress
from benchmarks.replay.reconciliation import Expectation, Reconciliation, StockCheck
from benchmarks.replay.report import ReplayReport
from benchmarks.replay.retail import Basket, baskets_of
from benchmarks.replay.retail_file import RetailFile, RetailFileError
from benchmarks.replay.retry import GaveUp, RetryPolicy
from benchmarks.replay.shopper import Shopper

EPILOG = """\
example: peakgate replay online-retail-2010-12.csv.gz --concurrency 32

exit status: 0 everything adds up; 1 there are differences; 65 the file is not in the form, or sells what the shop does not;
66 the file cannot be read; 69 no response from a gateway; 130 interrupted."""
_INTERRUPTED = 130
# Together twice as long as the gateway lets caches keep a page of products.
_STOCK_READINGS = 5
_STOCK_PAUSE_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser the options of `peakgate replay`."""
    parser.description = "Play the baskets of an Online Retail CSV against a running gateway, as shoppers do."
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="CSV of Online Retail or Online Retail II, plain or .gz, in UTF-8, UTF-16 or cp1252",
    )
    parser.add_argument(
        "--url", type=_http_url, default="http://127.0.0.1:8080", help="address of the gateway (default: %(default)s)"
    )
    parser.add_argument(
        "--concurrency", type=_at_least_one, default=32, metavar="N", help="shoppers at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--speed",
        type=_not_negative,
        default=0.0,
        metavar="X",
        help="baskets begin at their invoice times, this many times faster; 0: as fast as it goes (default)",
    )
    parser.add_argument(
        "--give-up",
        type=_not_negative,
        default=120.0,
        metavar="SECONDS",
        help="a shopper gives up after this long without progress (default: %(default)g)",
    )
    books = parser.add_mutually_exclusive_group()
    books.add_argument(
        "--audit-data-dir", metavar="DIR", help="data directory of the gateway: audit its books in the end"
    )
    books.add_argument("--audit-store-url", metavar="URL", help="store of the gateway: audit its books in the end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the closing results here as well")


def run(args: argparse.Namespace) -> int:
    """Run `peakgate replay` and return its exit status."""
    try:
        file = RetailFile(args.file)
        baskets = list(baskets_of(file))
    except (RetailFileError, zlib.error) as error:
        return _fail(str(error), os.EX_DATAERR)
    except OSError as error:
        return _fail(f"{args.file}: {error.strerror or error}", os.EX_NOINPUT)
    if not baskets:
        return _fail(f"{args.file}: no usable basket in it", os.EX_DATAERR)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(
                replay(baskets, url=args.url, concurrency=args.concurrency, speed=args.speed, give_up_s=args.give_up)
            )
    except KeyboardInterrupt:
        return _fail("interrupted before it began", _INTERRUPTED)
    except (Unreachable, GaveUp) as error:
        return _fail(f"{error}; start one with `peakgate serve`", os.EX_UNAVAILABLE)
    except CatalogueMismatch as error:
        return _fail(f"{error}; see `peakgate catalog import`", os.EX_DATAERR)
    report = replace(report, faults=[*report.faults, *_audit_faults(args)])
    _say_how_it_was_read(file)
    print(report.text())
    if args.json:
        args.json.write_bytes(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if report.interrupted:
        return _INTERRUPTED
    return 1 if report.faults else 0


def _audit_faults(args: argparse.Namespace) -> Sequence[str]:
    if args.audit_data_dir is None and args.audit_store_url is None:
        return ()
    where = (
        ("--store-url", args.audit_store_url) if args.audit_data_dir is None else ("--data-dir", args.audit_data_dir)
    )
    found = audit_findings(*where)
    return [f"the audit at the end failed: {found}"] if found else ()


async def replay(
    baskets: Sequence[Basket],
    *,
    url: str,
    concurrency: int = 32,
    speed: float = 0.0,
    give_up_s: float = 120.0,
    progress_to: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> ReplayReport:
    """Buy the baskets, at most `concurrency` at a time, and report.

    A cancellation ends the replay early with a report of the purchases so far. Raises Unreachable
    if there is no gateway at `url`, CatalogueMismatch if the shop does not sell these baskets.
    """
    async with open_session(connections=concurrency) as session:
        client = ShopClient(session, url, clock=clock, pause=pause)
        await client.probe("/healthz")
        running = _Replay(client, baskets, speed=speed, give_up_s=give_up_s, clock=clock)
        await running.prepare()
        async with show_progress(running.counts, len(baskets), progress_to or sys.stderr):
            await running.buy_all(concurrency)
        return await running.report()


class _Replay:
    """One run of all baskets."""

    def __init__(
        self,
        client: ShopClient,
        baskets: Sequence[Basket],
        *,
        speed: float,
        give_up_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._baskets = baskets
        self._speed = speed
        self._give_up_s = give_up_s
        self._clock = clock
        self._run_id = secrets.token_hex(8)
        self._skus = {line.sku for basket in baskets for line in basket.lines}
        self._lines = 0
        self._interrupted = False
        self._seconds = 0.0

    async def prepare(self) -> None:
        """Read the shop's prices and stock."""
        self._before = await self._fetch_catalogue()
        self._reconciliation = Reconciliation(Expectation.of(self._baskets, self._before))

    async def buy_all(self, concurrency: int) -> None:
        """Buy every basket."""
        started = self._clock()
        queue = self._baskets_when_due(started)
        try:
            async with asyncio.TaskGroup() as shoppers:
                for _ in range(concurrency):
                    shoppers.create_task(self._buy_from(queue))
        except asyncio.CancelledError:
            self._interrupted = True
        self._seconds = self._clock() - started

    def counts(self) -> Counts:
        """The counts for the progress bar."""
        return Counts(len(self._reconciliation.purchases), self._lines, self._client.requests)

    async def report(self) -> ReplayReport:
        """Compare the stock and make the report."""
        faults: list[str] = ["interrupted"] if self._interrupted else []
        stock = None
        try:
            stock = None if self._interrupted else await self._compare_stock()
        except (GaveUp, CatalogueMismatch) as error:
            faults.append(f"the stock could not be read in the end: {error}")
        return ReplayReport(
            reconciliation=self._reconciliation,
            currency=self._before.currency,
            stock=stock,
            latencies=self._client.latencies.rows(),
            retries=self._client.retries,
            requests=self._client.requests,
            seconds=self._seconds,
            faults=faults + self._reconciliation.faults(stock),
            interrupted=self._interrupted,
        )

    def _baskets_when_due(self, started: float) -> Iterator[tuple[Basket, float]]:
        """The baskets and the moments on the clock when they begin, in that order."""
        if not self._speed:
            yield from ((basket, started) for basket in self._baskets)
            return
        in_order = sorted(self._baskets, key=lambda basket: basket.invoiced_at)
        first = in_order[0].invoiced_at
        for basket in in_order:
            yield basket, started + (basket.invoiced_at - first).total_seconds() / self._speed

    async def _buy_from(self, queue: Iterator[tuple[Basket, float]]) -> None:
        for basket, due in queue:
            if (early_s := due - self._clock()) > 0:
                await self._client.pause(early_s)
            shopper = Shopper(
                self._client,
                basket,
                self._before,
                run_id=self._run_id,
                retry=self._retry(basket.invoice),
                # Seeded with the invoice: every run fills its carts with the same requests.
                chance=Random(basket.invoice),
                clock=self._clock,
                on_lines=self._count_lines,
            )
            self._reconciliation.record(await shopper.buy())

    async def _compare_stock(self) -> StockCheck | None:
        """The stock at the end, once it agrees with the orders; else as it was read last."""
        readings = 1
        while True:
            after = await self._fetch_catalogue()
            check = StockCheck.compare(self._before.stock, after.stock)
            if check is None or self._reconciliation.agrees_with(check) or readings == _STOCK_READINGS:
                return check
            # A cache between may still have pages from before the last order.
            readings += 1
            await self._client.pause(_STOCK_PAUSE_S)

    async def _fetch_catalogue(self) -> ShopCatalogue:
        return await fetch_catalogue(self._client, self._skus, self._retry("catalogue"))

    def _retry(self, seed: str) -> RetryPolicy:
        # Shoppers of different runs and machines must not retry in step, hence the run id.
        return RetryPolicy(give_up_s=self._give_up_s, clock=self._clock, chance=Random(f"{self._run_id} {seed}"))

    def _count_lines(self, lines: int) -> None:
        self._lines += lines


def _say_how_it_was_read(file: RetailFile) -> None:
    """Say which of several readings was taken: the file alone does not show it."""
    if file.date_order is not None:
        _say(f"dates such as 01/12/2010 are read {file.date_order}")
    if file.repeated_invoices:
        _say(f"{file.repeated_invoices:,} invoices come again with the same lines, and count once")


def _say(message: str) -> None:
    print(f"peakgate replay: {message}", file=sys.stderr)


def _fail(message: str, status: int) -> int:
    _say(message)
    return status


def _http_url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is no http:// or https:// address")
    return text


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def _not_negative(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 0")
    return value


def main() -> int:
    """Entry point of `python -m benchmarks.replay.command`."""
    parser = argparse.ArgumentParser(prog="peakgate replay")
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
