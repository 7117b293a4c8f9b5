import asyncio
import itertools
import multiprocessing
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cart.catalog import sqlite_index, sqlite_queries
from cart.catalog.model import CatalogRow, ProductFilter
from cart.catalog.ports import ForeignCursor, SearchUnavailable
from cart.catalog.search_cursors import cursor_of
from cart.catalog.sqlite_search import SqliteSearch
from cart.model import Sku


@asynccontextmanager
async def opened(path: Path, **settings: object) -> AsyncIterator[SqliteSearch]:
    search = SqliteSearch(path, **settings)  # type: ignore[arg-type]
    await search.open()
    try:
        yield search
    finally:
        await search.close()


async def test_the_index_survives_closing(tmp_path: Path) -> None:
    path = tmp_path / "data" / "search.sqlite3"
    async with opened(path) as search:
        await search.upsert([CatalogRow(Sku("A"), "RED HEART")])
        await search.mark_imported("digest")
    async with opened(path) as search:
        assert (await search.page(limit=1, q="heart")).skus == ["A"]
        assert await search.has_imported("digest")


async def test_a_failed_batch_leaves_nothing_behind(tmp_path: Path) -> None:
    async with opened(tmp_path / "search.sqlite3") as search:
        with pytest.raises(UnicodeEncodeError):
            await search.upsert([CatalogRow(Sku("A"), "RED"), CatalogRow(Sku("\ud800"), "BAD")])
        assert await search.page(limit=1) == ([], None)
        await search.upsert([CatalogRow(Sku("A"), "RED")])
        assert (await search.page(limit=1, q="red")).skus == ["A"]


async def test_a_file_that_is_no_index_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "search.sqlite3"
    path.write_bytes(b"something else entirely" * 100)
    search = SqliteSearch(path)
    with pytest.raises(SearchUnavailable, match="not a database"):
        await search.open()
    await search.close()


async def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    search = SqliteSearch(tmp_path / "file" / "search.sqlite3")
    with pytest.raises(SearchUnavailable):
        await search.open()
    await search.close()


async def test_an_index_of_another_version_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "search.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    search = SqliteSearch(path)
    with pytest.raises(SearchUnavailable, match="another version"):
        await search.open()
    await search.close()


async def test_an_index_without_parts_of_words_is_made_again(tmp_path: Path) -> None:
    """What version 1 made: products keep their places, and the next import has the words of all scripts right."""
    path = tmp_path / "search.sqlite3"
    names = ["red sweetheart", "blue lamp"] * 1200
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE products (id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, words TEXT NOT NULL)")
        old.execute(
            "CREATE VIRTUAL TABLE names USING fts5(words, content='', detail=none, columnsize=0, tokenize='ascii')"
        )
        old.execute("CREATE TABLE imports (digest TEXT PRIMARY KEY) WITHOUT ROWID")
        old.execute("INSERT INTO imports VALUES ('digest')")
        for row_id, name in enumerate(names, start=1):
            old.execute("INSERT INTO products VALUES (?, ?, ?)", (row_id, f"S{row_id}", name))
            old.execute("INSERT INTO names(rowid, words) VALUES (?, ?)", (row_id, f"0000{name.replace(' ', ' 0000')}"))
        old.execute("PRAGMA user_version = 1")
    old.close()
    for _ in range(2):
        async with opened(path) as search:
            assert (await search.page(limit=2, q="eethear")).skus == ["S1", "S3"]
            assert (await search.page(limit=2, q="lamp blue")).skus == ["S2", "S4"]
            assert len((await search.page(limit=100)).skus) == 100
            assert not await search.has_imported("digest")


async def test_an_index_without_categories_gets_them_at_the_next_import(tmp_path: Path) -> None:
    """What version 2 made: a product of it is admitted by every price, and found in no category, until it is imported again."""
    path = tmp_path / "search.sqlite3"
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE products (id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, words TEXT NOT NULL)")
        old.execute(
            "CREATE VIRTUAL TABLE names USING fts5(words, content='', detail=none, columnsize=0, tokenize='ascii')"
        )
        old.execute("CREATE TABLE imports (digest TEXT PRIMARY KEY) WITHOUT ROWID")
        old.execute("INSERT INTO imports VALUES ('digest')")
        for row_id, name in enumerate(["red lamp", "blue lamp"], start=1):
            old.execute("INSERT INTO products VALUES (?, ?, ?)", (row_id, f"S{row_id}", name))
            terms = sqlite_index._indexed(name, None, row_id)
            old.execute("INSERT INTO names(rowid, words) VALUES (?, ?)", (row_id, terms))
        old.execute("PRAGMA user_version = 2")
    old.close()
    cheap, lighting = ProductFilter(None, "GBP", 0, 100), ProductFilter("Lighting")
    async with opened(path) as search:
        assert not await search.has_imported("digest")
        assert (await search.page(limit=2, q="lamp", only=cheap)).skus == ["S1", "S2"]
        assert (await search.page(limit=2, q="lamp", only=lighting)).skus == []
        await search.upsert([CatalogRow(Sku("S1"), "RED LAMP", 500, "GBP", 1, "Lighting")])
    async with opened(path) as search:
        assert (await search.page(limit=2, q="lamp", only=cheap)).skus == ["S2"]
        assert (await search.page(limit=2, q="lamp", only=lighting)).skus == ["S1"]
        assert (await search.page(limit=2, q="red", only=lighting)).skus == ["S1"]


async def test_a_price_that_no_product_has_costs_no_more_than_the_time_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_queries, "CHUNK_ROWS", 10)
    rows = [CatalogRow(Sku(str(number)), "LAMP", 1 if number == 75 else 500, "GBP") for number in range(100)]
    async with opened(tmp_path / "search.sqlite3", budget_s=0.0, clock=itertools.count().__next__) as search:
        await search.upsert(rows)
        for q in (None, "lamp"):
            pages = [await search.page(limit=2, q=q, only=ProductFilter(None, "GBP", 0, 1))]
            while (cursor := pages[-1].next_cursor) is not None:
                pages.append(await search.page(limit=2, q=q, only=ProductFilter(None, "GBP", 0, 1), cursor=cursor))
            assert [sku for page in pages for sku in page.skus] == ["75"]
            assert len(pages) >= 10, "each page ends after one chunk"


async def test_a_cursor_with_any_changed_character_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "search.sqlite3") as search:
        await search.upsert([CatalogRow(Sku(str(number)), "HEART") for number in range(3)])
        cursor = (await search.page(limit=1)).next_cursor
        assert cursor is not None
        for place in range(len(cursor)):
            other = "B" if cursor[place] == "A" else "A"
            with pytest.raises(ForeignCursor):
                await search.page(limit=1, cursor=cursor[:place] + other + cursor[place + 1 :])


async def test_a_forged_cursor_reads_from_its_position_or_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "search.sqlite3") as search:
        await search.upsert([CatalogRow(Sku("A"), "HEART")])
        for q in (None, "heart"):
            assert await search.page(limit=1, q=q, cursor=cursor_of((1 << 63) - 1, (q or "").encode())) == (
                [],
                None,
            )
        beyond = cursor_of(1 << 63, b"")
        with pytest.raises(ForeignCursor):
            await search.page(limit=1, cursor=beyond)
        for position in (1 << 63, (1 << 64) - 1):
            cursor = cursor_of(position, b"heart")
            assert await search.page(limit=1, q="heart", cursor=cursor) == ([], None)


async def test_a_search_over_its_time_budget_continues_at_its_cursor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With windows of 10 rows and a budget of nothing, a page ends after each window, and all of them find everything."""
    monkeypatch.setattr(sqlite_index, "WINDOW_ROWS", 10)
    products = [
        CatalogRow(Sku(str(number)), "LEFT RIGHT" if number in {5, 25, 26, 27, 99} else "LEFT") for number in range(100)
    ]
    async with opened(tmp_path / "search.sqlite3", budget_s=0.0, clock=itertools.count().__next__) as search:
        await search.upsert(products)
        pages = [await search.page(limit=2, q="right left")]
        while pages[-1].next_cursor is not None:
            pages.append(await search.page(limit=2, q="right left", cursor=pages[-1].next_cursor))
    assert [sku for page in pages for sku in page.skus] == ["5", "25", "26", "27", "99"]
    assert pages[1].skus == [], "a page may be empty and not the last"
    assert max(len(page.skus) for page in pages) == 2


def _open_in_process(path: Path, results: "multiprocessing.Queue[object]") -> None:
    async def use() -> object:
        async with opened(path) as search:
            return await search.page(limit=10)

    try:
        results.put(asyncio.run(use()))
    except BaseException as error:
        results.put(repr(error))
        raise


def test_many_processes_may_open_a_new_index_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_open_in_process, args=(tmp_path / "search.sqlite3", results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=60) for _ in workers] == [([], None)] * 4
    for worker in workers:
        worker.join()


def _write_in_process(path: Path) -> None:
    async def write() -> None:
        async with opened(path) as search:
            for batch in range(40):
                await search.upsert([CatalogRow(Sku(f"{batch}-{number}"), f"HEART {batch}") for number in range(50)])

    asyncio.run(write())


async def test_pages_are_read_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "search.sqlite3"
    async with opened(path) as search:
        writer = multiprocessing.get_context("spawn").Process(target=_write_in_process, args=(path,))
        writer.start()
        async with asyncio.timeout(60):
            while not (await search.page(limit=1, q="39 heart")).skus:
                hits = await search.page(limit=100, q="heart")
                assert len(hits.skus) % 50 == 0, "a batch is seen whole or not at all"
        writer.join()
        skus: list[Sku] = []
        cursor: str | None = None
        while True:
            hits = await search.page(limit=100, cursor=cursor, q="heart")
            skus += hits.skus
            if (cursor := hits.next_cursor) is None:
                break
        assert len(skus) == len(set(skus)) == 2000


async def test_a_waiting_query_does_not_block_the_event_loop(tmp_path: Path) -> None:
    """A query held back in its thread, here by a clock that waits, does not hold back anything else."""
    in_query = asyncio.Event()
    loop = asyncio.get_running_loop()
    goes_on = asyncio.Event()

    def clock() -> float:
        loop.call_soon_threadsafe(in_query.set)
        asyncio.run_coroutine_threadsafe(goes_on.wait(), loop).result(30)
        return 0.0

    async with opened(tmp_path / "search.sqlite3", clock=clock) as search:
        await search.upsert([CatalogRow(Sku("A"), "HEART")])
        searching = asyncio.create_task(search.page(limit=1, q="heart"))
        await in_query.wait()
        assert (await search.page(limit=1)).skus == ["A"]
        goes_on.set()
        assert (await searching).skus == ["A"]


async def test_an_index_of_version_3_follows_the_catalogue_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "search.sqlite3"
    async with opened(path) as search:
        await search.upsert([CatalogRow(Sku("A"), "RED LAMP", 500, "GBP", 1, "Lighting")])
        await search.mark_imported("digest")
    with sqlite3.connect(path) as old:
        old.execute("DROP TABLE feed")
        old.execute("PRAGMA user_version = 3")
    old.close()
    async with opened(path) as search:
        assert await search.has_imported("digest")
        assert (await search.position(), len(await search.name())) == ("", 24)
        assert (await search.page(limit=2, q="lamp", only=ProductFilter("Lighting"))).skus == ["A"]


async def test_two_indexes_have_different_names(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.sqlite3") as one, opened(tmp_path / "b.sqlite3") as other:
        assert await one.name() != await other.name()


async def test_a_position_is_given_once_although_the_last_product_was_removed(tmp_path: Path) -> None:
    async with opened(tmp_path / "search.sqlite3") as search:
        await search.upsert([CatalogRow(Sku(name), "LAMP") for name in "ABC"])
        cursor = cursor_of(3, b"")
        await search.remove([Sku("C"), Sku("B")])
        await search.upsert([CatalogRow(Sku("D"), "LAMP")])
        assert (await search.page(limit=2, cursor=cursor)).skus == ["D"]
