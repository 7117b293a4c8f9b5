"""All orders are brought under the current key, in the store and in the archive, while orders are placed."""

from __future__ import annotations

import msgspec
import pytest

from cart.model import OrderId
from checkout.archive.archived import Records, fields_of
from checkout.archive.memory_archive import MemoryArchive
from checkout.ports.order_index import Shopper
from checkout.privacy.memory_keys import MemoryKeys
from checkout.privacy.order_codec import OrderCodec, key_of
from checkout.privacy.pseudonyms import Pseudonyms
from checkout.privacy.resealing import Resealer
from checkout.privacy.sealer import Sealer
from checkout.redis.documents import RedisDocuments
from checkout.redis.order_index import RedisOrderIndex
from checkout.redis.orders import RedisOrders
from checkout.redis.records import RedisOrderRecords
from store import Client, Store
from tests.contract.cart.stores import is_on_cluster
from tests.contract.checkout.shop import MUG, RedisShop, a_request

BY_EMAIL = Shopper("email", "ada@example.com")


class Sealing:
    """A shop whose orders are sealed with keys that a test rotates."""

    def __init__(self, store: Store, keys: MemoryKeys | None = None) -> None:
        self.keys = keys or MemoryKeys()
        self.codec = OrderCodec(Sealer(self.keys))
        self.shop = RedisShop(store, codec=self.codec)
        self.documents = RedisDocuments(store, page=2)
        self.index = RedisOrderIndex(store, is_cluster=is_on_cluster(store))
        self.archive = MemoryArchive()
        self.records = RedisOrderRecords(store, Records(self.codec, Pseudonyms(b"")), self.index)

    def resealer(self, *, home: str = "") -> Resealer:
        return Resealer(
            documents=self.documents,
            index=self.index,
            codec=self.codec,
            keys=self.keys,
            archive=self.archive,
            home=home,
        )

    async def keys_of_all(self) -> list[str | None]:
        stored: list[str | None] = []
        cursor: str | None = None
        while True:
            page = await self.documents.page(cursor)
            stored += [key_of(each.document) for each in page.documents]
            if (cursor := page.cursor) is None:
                break
        return [*stored, *(key_of(fields_of(record)["doc"]) for record in self.archive.records.values())]


@pytest.fixture
async def sealing(store: Client) -> Sealing:
    sealing = Sealing(store)
    await sealing.shop.set_stock(MUG, 100)
    return sealing


async def place(sealing: Sealing, orders: RedisOrders | None = None) -> OrderId:
    cart = await sealing.shop.cart({MUG: 1})
    placed = await sealing.shop.handlers(orders=orders or sealing.shop.orders).place(
        a_request(cart), idempotency_key=cart.id
    )
    return placed.order.id


async def test_after_a_rotation_every_order_is_sealed_with_the_new_key_and_reads_as_before(sealing: Sealing) -> None:
    ids = [await place(sealing) for _ in range(5)]
    await sealing.archive.put([each.record for each in await sealing.records.read(ids)])
    before = [await sealing.shop.orders.read(each) for each in ids]
    sealing.keys.rotate()
    late = await place(sealing)
    report = await sealing.resealer().run()
    assert (report.resealed, report.changed_meanwhile) == (10, 0)
    assert set(await sealing.keys_of_all()) == {"memory.2"}
    assert (await sealing.resealer().run()).resealed == 0
    sealing.keys.lose("memory.1")
    assert [await sealing.shop.orders.read(each) for each in ids] == before
    assert late


async def test_the_records_of_another_region_are_sealed_anew_there(sealing: Sealing) -> None:
    order_id = await place(sealing)
    (each,) = await sealing.records.read([order_id])
    await sealing.archive.put([msgspec.structs.replace(each.record, home="us-east-1")])
    sealing.keys.rotate()
    assert (await sealing.resealer(home="eu-west-2").run()).resealed == 1
    assert await sealing.keys_of_all() == ["memory.2", "memory.1"]
    assert (await sealing.resealer(home="us-east-1").run()).resealed == 1


async def test_plain_orders_of_an_earlier_version_are_sealed_and_found_by_email(
    sealing: Sealing, store: Client
) -> None:
    order_id = await place(sealing, RedisOrders(store))
    assert await sealing.keys_of_all() == [None]
    assert await sealing.index.places(BY_EMAIL, limit=1) == []
    await sealing.resealer().run()
    assert await sealing.keys_of_all() == ["memory.1"]
    assert [each.order_id for each in await sealing.index.places(BY_EMAIL, limit=1)] == [order_id]


async def test_an_order_of_a_lost_key_is_counted_and_the_others_are_sealed(
    sealing: Sealing, caplog: pytest.LogCaptureFixture
) -> None:
    await place(sealing)
    sealing.keys.rotate()
    await place(sealing)
    sealing.keys.lose("memory.1")
    sealing.keys.rotate()
    other = Sealing(sealing.shop.store, sealing.keys)  # a process that has not the key in memory
    report = await other.resealer().run()
    assert (report.seen, report.resealed, report.unreadable) == (2, 1, 1)
    assert "is not sealed anew: there is no key memory.1" in caplog.text
