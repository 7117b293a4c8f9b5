"""A catalogue of a million products: its import, and pages and searches of it.

`python -m benchmarks.scenarios.catalog_scale [--products N]` makes the file, imports it into an embedded store and the embedded
search in a process of its own, requests pages meanwhile and afterwards, and writes the results to
`results/catalog_scale.json`.
"""

import argparse
import asyncio
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import NamedTuple

from benchmarks.harness.results import Result, results_table, write_results
from cart.catalog.handlers import ProductHandlers
from cart.catalog.importer import ImportReport, import_catalog
from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.catalog.sqlite_search import FILE_NAME, SqliteSearch
from cart.model import Sku
from store import Client, open_client
from store.embedded import EmbeddedServer

MB = 1_000_000
SEED = 20101201
PAGES_AT_LEAST = 200
COLOURS = ["RED", "BLUE", "GREEN", "WHITE", "BLACK", "PINK", "IVORY", "SILVER", "GOLD", "BROWN"]
STYLES = [
    "VINTAGE",
    "RETRO",
    "FRENCH",
    "UNION",
    "LARGE",
    "SMALL",
    "HANGING",
    "PAINTED",
    "FOLDING",
    "WOODEN",
    "PAPER",
    "GLASS",
    "METAL",
    "KNITTED",
    "PARTY",
]
NOUNS = [f"{kind}{number}" for kind in ("LANTERN", "BAG", "MUG", "CLOCK", "FRAME", "CARD") for number in range(80)]
# Every name has SET and one of the two sides: lists of postings as long as they get, that never or always meet.
SIDES = ("LEFT", "RIGHT")


class Query(NamedTuple):
    """A kind of query, and the note of its result."""

    name: str
    q: str | None
    note: str


QUERIES = (
    Query("page", None, "no search, limit 100"),
    Query("rare word", "n500000", "one product has it"),
    Query("word", "lantern7", "1 name in 480"),
    Query("common word", "red", "1 name in 10"),
    Query("word of all names", "set", "1,000,000 products"),
    Query("two common words", "red vintage", "1 name in 150"),
    Query("three words", "red vintage lantern7", "a dozen products"),
    Query("common words that never meet", "red blue", "100,000 products each, nothing found"),
    Query(
        "the longest lists that never meet",
        "set left right",
        "up to all products each, nothing found: cut by the budget",
    ),
    Query("exact SKU", "SKU-0500000", "one product"),
    Query("inside words", "antern7", "1 name in 44"),
    Query("parts that never meet", "ack lue", "100,000 products each, nothing found"),
    Query("nothing", "zzz", "a word no name has"),
)


class Imported(NamedTuple):
    """The results of the importing process."""

    report: ImportReport
    seconds: float
    peak_rss: int


def main() -> int:
    """Measure, print and write the results; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.catalog_scale", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--products", type=int, default=1_000_000, help="size of the catalogue (default: %(default)s)")
    args = parser.parse_args()
    # A high load average means that the results are of little use.
    parts = {"load_average_before": round(os.getloadavg()[0], 2)}
    with tempfile.TemporaryDirectory(prefix="peakgate-catalog-") as folder:
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            results = asyncio.run(measure(Path(folder), server.url, args.products))
        finally:
            server.stop()
    print(results_table(results))
    print(f"\nwritten to {write_results('catalog_scale', {'products': args.products, 'seed': SEED}, parts, results)}")
    return 0


async def measure(folder: Path, store_url: str, products: int) -> list[Result]:
    """All results, in the order in which they are printed."""
    file = folder / "catalog.csv"
    _say(f"writing a file of {products:,} products")
    write_file(file, products)
    async with _shop(folder, store_url) as (handlers, store, prices):
        _say("importing it")
        first, during_ms = await _import(file, folder, store_url, handlers)
        _say("importing it again")
        again, _ = await _import(file, folder, store_url, handlers)
        results = [
            Result(
                "import", first.seconds, "s", 300 * products / 1_000_000, f"{file.stat().st_size / MB:.0f} MB of CSV"
            ),
            Result("import of the same file again", again.seconds, "s"),
            Result("peak memory of the importing process", first.peak_rss / MB, "MB"),
            Result(
                "page while importing, p99",
                _p99(during_ms),
                "ms",
                20,
                f"{len(during_ms)} pages, 2 busy processes beside",
            ),
            Result(
                "changed price in force, slowest", max(await _price_changes(folder, store, prices)), "s", 2, "of 10"
            ),
            Result("products in Valkey", await _used_memory(store) / MB, "MB"),
            Result("search index on disk", (folder / FILE_NAME).stat().st_size / MB, "MB"),
        ]
        for query in QUERIES:
            _say(f"asking: {query.name}")
            results += await _ask(handlers, query)
        return results


def write_file(path: Path, products: int) -> None:
    """A catalogue whose words are from very common to unique."""
    with path.open("w", encoding="utf-8") as file:
        file.write("sku,name,price,currency,stock\n")
        file.writelines(_rows(products))


def _rows(products: int) -> Iterator[str]:
    random = Random(SEED)
    numbers = list(range(products))
    # Real SKUs do not come in order: an index on them is not filled from left to right.
    random.shuffle(numbers)
    for place, number in enumerate(numbers):
        words = f"{random.choice(COLOURS)} {random.choice(STYLES)} {random.choice(NOUNS)} {random.choice(SIDES)}"
        price = random.randrange(10, 10_000)
        yield f"SKU-{number:07},{words} SET N{place},{price // 100}.{price % 100:02},GBP,{random.randrange(1000)}\n"


@asynccontextmanager
async def _shop(folder: Path, store_url: str) -> AsyncIterator[tuple[ProductHandlers, Client, RedisPriceBook]]:
    store = await open_client(store_url)
    search = SqliteSearch(folder / FILE_NAME)
    await search.open()
    prices = RedisPriceBook(store)
    watching = asyncio.create_task(prices.watch())
    try:
        yield ProductHandlers(prices=prices, stock=RedisCatalog(store), search=search), store, prices
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await search.close()
        await store.close()


async def _import(file: Path, folder: Path, store_url: str, handlers: ProductHandlers) -> tuple[Imported, list[float]]:
    """Import in a process of its own, whose memory is measured, and request pages all the while."""
    context = multiprocessing.get_context("spawn")
    results: SimpleQueue[Imported] = context.SimpleQueue()
    process = context.Process(target=_import_in_process, args=(file, folder, store_url, results))
    process.start()
    pages_ms: list[float] = []
    while process.is_alive():
        pages_ms.append(await _page_ms(handlers, "red"))
        await asyncio.sleep(0.1)
    process.join()
    if process.exitcode != 0:
        raise SystemExit("the import failed")
    return results.get(), pages_ms


def _import_in_process(file: Path, folder: Path, store_url: str, results: "SimpleQueue[Imported]") -> None:
    async def run() -> ImportReport:
        store = await open_client(store_url)
        search = SqliteSearch(folder / FILE_NAME)
        await search.open()
        report = await import_catalog(file, catalog=RedisCatalog(store), search=search, spool_dir=folder)
        await search.close()
        await store.close()
        return report

    began = time.perf_counter()
    report = asyncio.run(run())
    seconds = time.perf_counter() - began
    results.put(Imported(report, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


async def _price_changes(folder: Path, store: Client, prices: RedisPriceBook) -> list[float]:
    """Seconds from the start of an import of one new price to the moment at which another price book has it."""
    sku = Sku("SKU-0000001")
    file = folder / "change.csv"
    search = SqliteSearch(folder / FILE_NAME)
    times_s: list[float] = []
    for _ in range(10):
        new_price = (await prices.products([sku]))[sku].price + 1
        file.write_text(f"sku,name,price,currency,stock\n{sku},CHANGED,{new_price / 100:.2f},GBP,1\n")
        began = time.perf_counter()
        await import_catalog(file, catalog=RedisCatalog(store), search=search, spool_dir=folder)
        # Polled: the price book has no event for a changed price.
        while (await prices.products([sku]))[sku].price != new_price:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        times_s.append(time.perf_counter() - began)
    await search.close()
    return times_s


async def _used_memory(store: Client) -> int:
    info: bytes | str = await store.execute("INFO", "memory")
    text = info.decode() if isinstance(info, bytes) else info
    return int(text.partition("used_memory:")[2].split()[0])


async def _ask(handlers: ProductHandlers, query: Query) -> list[Result]:
    """All pages from the first to the last, and again until there are enough of them."""
    times_ms: list[float] = []
    cursor: str | None = None
    products = 0
    while cursor is not None or len(times_ms) < PAGES_AT_LEAST:
        began = time.perf_counter()
        page = await handlers.page(limit=100, cursor=cursor, q=query.q)
        page.to_json()
        times_ms.append((time.perf_counter() - began) * 1e3)
        products += len(page.products)
        cursor = page.next_cursor
    note = f"{query.note}; {len(times_ms):,} pages, {products:,} products, slowest {max(times_ms):.1f} ms"
    return [
        Result(f"{query.name}: median", median(times_ms), "ms", 20),
        Result(f"{query.name}: p99", _p99(times_ms), "ms", 20, note),
    ]


async def _page_ms(handlers: ProductHandlers, q: str) -> float:
    began = time.perf_counter()
    (await handlers.page(limit=100, q=q)).to_json()
    return (time.perf_counter() - began) * 1e3


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100, method="inclusive")[98]


def _say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
