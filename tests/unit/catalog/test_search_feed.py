import asyncio
import contextlib

import pytest

from cart.catalog.memory import MemoryCatalog, MemorySearch
from cart.catalog.model import CatalogRow
from cart.catalog.search_feed import SearchFeed, remove_products
from cart.model import Sku

A, B = Sku("A"), Sku("B")
ROWS = [CatalogRow(A, "RED HEART", 255, "GBP", 7), CatalogRow(B, "BLUE HEART", 300, "GBP", 7, "Hearts")]


class Hosts:
    """Two hosts with an index each."""

    def __init__(self) -> None:
        self.catalog = MemoryCatalog()
        self.here, self.there = MemorySearch(), MemorySearch()

    async def change(self, *rows: CatalogRow) -> None:
        await self.catalog.put(rows)
        await self.here.upsert(rows)
        await self.catalog.announce([row.sku for row in rows], by=await self.here.name())

    async def found_there(self, q: str) -> list[Sku]:
        await SearchFeed(self.catalog, self.there).catch_up()
        return (await self.there.page(limit=10, q=q)).skus


@pytest.fixture
async def hosts() -> Hosts:
    hosts = Hosts()
    await hosts.change(*ROWS)
    return hosts


async def test_an_index_follows_what_other_hosts_import(hosts: Hosts) -> None:
    assert await hosts.found_there("heart") == ["A", "B"]
    await hosts.change(CatalogRow(A, "RED LAMP"))
    assert await hosts.found_there("heart") == ["B"]
    assert await hosts.found_there("lamp") == ["A"]


async def test_a_product_that_is_removed_leaves_all_indexes(hosts: Hosts) -> None:
    await hosts.found_there("heart")
    assert await remove_products([A, Sku("Z")], catalog=hosts.catalog, search=hosts.here) == 1
    assert await hosts.found_there("heart") == ["B"]
    assert (await hosts.here.page(limit=9)).skus == ["B"]
    assert hosts.catalog.epoch == 1


async def test_a_product_that_was_removed_and_added_again_is_there(hosts: Hosts) -> None:
    await remove_products([A], catalog=hosts.catalog, search=hosts.here)
    await hosts.change(ROWS[0])
    assert sorted(await hosts.found_there("heart")) == ["A", "B"]


async def test_an_index_has_the_changes_of_its_own_host_already(hosts: Hosts) -> None:
    await hosts.here.remove([A])
    await SearchFeed(hosts.catalog, hosts.here).catch_up()
    assert (await hosts.here.page(limit=9)).skus == ["B"]
    assert await hosts.here.position() == "1"


async def test_an_index_with_very_many_changes_to_follow_gets_them_all(hosts: Hosts) -> None:
    for number in range(30):
        await hosts.change(CatalogRow(Sku(f"S{number}"), "LAMP", 1, "GBP"))
    await SearchFeed(hosts.catalog, hosts.there).catch_up()
    assert len((await hosts.there.page(limit=100)).skus) == 32


async def test_a_change_that_could_not_be_applied_is_applied_later(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_skus: object) -> None:
        raise ConnectionError("away")

    with monkeypatch.context() as broken:
        broken.setattr(hosts.there, "remove", fail)
        with pytest.raises(ConnectionError):
            await hosts.found_there("heart")
    assert await hosts.found_there("heart") == ["A", "B"]


async def test_it_goes_on_after_a_failed_round(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = 0

    async def sleep(seconds: float) -> None:
        nonlocal rounds
        assert seconds == pytest.approx(0.6)
        rounds += 1
        if rounds == 1:
            monkeypatch.undo()
        if rounds == 2:
            raise asyncio.CancelledError

    async def fail() -> str:
        raise ConnectionError("away")

    monkeypatch.setattr(hosts.there, "position", fail)
    feed = SearchFeed(hosts.catalog, hosts.there, sleep=sleep, chance=lambda: 0.1)
    with contextlib.suppress(asyncio.CancelledError):
        await feed.run()
    assert (await hosts.there.page(limit=9)).skus == ["A", "B"]
