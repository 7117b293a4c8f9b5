"""All keys of a SKU are in one hash slot of a cluster, and no two SKUs share a key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from redis.crc import key_slot

from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import PUT_PRODUCT, RedisCatalog
from cart.ids import parse_sku
from cart.model import OrderId, Sku
from cart.sku_keys import holds_key, product_key
from checkout.ports.stock import StockLine
from checkout.redis.stock import RedisStock
from store import Script

ORDER = OrderId("7f" + "b" * 24)
skus = (
    st.one_of(st.text(st.sampled_from("{}ab \u00e9"), min_size=1, max_size=8), st.text(min_size=1, max_size=20))
    .map(parse_sku)
    .filter(bool)
    .map(lambda sku: sku or Sku("a"))
)


class KeysOnly:
    """A store that records the keys of every command."""

    def __init__(self) -> None:
        self.keys: list[Sequence[str]] = []

    async def execute(self, *command: Any) -> Any:
        self.keys.append([command[1]])

    def execute_blocking(self, *command: Any, timeout_s: float) -> Awaitable[Any]:
        return self.execute(*command)

    async def run(self, script: Script, keys: Any, _args: object = ()) -> Any:
        self.keys.append(keys)
        return b"same" if script is PUT_PRODUCT else [0]


def slots(keys: Sequence[str]) -> set[int]:
    return {key_slot(key.encode()) for key in keys}


@given(skus)
@example(Sku("}x"))
@example(Sku("}"))
@example(Sku("}}x"))
@example(Sku("{}"))
@example(Sku("a}b"))
def test_every_key_that_is_used_for_a_sku_is_in_the_slot_of_its_product(sku: Sku) -> None:
    async def use(store: KeysOnly) -> None:
        stock, catalog = RedisStock(store), RedisCatalog(store)
        await stock.hold(ORDER, [StockLine(sku, 1)], fence=1)
        await stock.release(ORDER, [sku], fence=1)
        await stock.confirm(ORDER, [sku])
        await stock.cancel(ORDER, [sku])
        await stock.complete(ORDER, [sku])
        await catalog.level(sku)
        await catalog.put([CatalogRow(sku, "name", 1, "GBP", 1)])

    store = KeysOnly()
    asyncio.run(use(store))
    assert len(store.keys) == 7
    assert slots([key for keys in store.keys for key in keys]) == slots([product_key(sku)])


@given(st.lists(skus, min_size=2, max_size=5, unique=True))
@example([Sku("}x"), Sku("x"), Sku("}}x"), Sku("x}"), Sku("{}x")])
def test_no_two_skus_share_a_key(several: list[Sku]) -> None:
    assert len({key(sku) for sku in several for key in (product_key, holds_key)}) == 2 * len(several)


@given(skus)
@example(Sku("}x"))
def test_a_sku_has_a_hash_tag(sku: Sku) -> None:
    tag = product_key(sku)[1:].partition("}")[0]
    assert tag
    assert key_slot(product_key(sku).encode()) == key_slot(tag.encode())


@given(skus.filter(lambda sku: not sku.startswith("}")))
def test_the_keys_of_ordinary_skus_are_the_sku_in_braces(sku: Sku) -> None:
    assert (product_key(sku), holds_key(sku)) == (f"{{{sku}}}p", f"{{{sku}}}h")
