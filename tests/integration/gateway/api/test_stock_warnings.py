"""Carts say which lines exceed the stock, and reading them costs no more calls of the store."""

from __future__ import annotations

from typing import Any

import pytest

from cart.bodies import AddLine, NewCart
from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.handlers import CartHandlers
from cart.model import Sku
from cart.redis_carts import RedisCarts
from cart.stock_watch import StockWatch
from store import Client
from tests.contract.cart.stores import RecordingStore
from tests.integration.gateway.shop_server import BOX, MUG, shop_server


def warnings(cart: Any) -> dict[str, Any]:
    return {line["sku"]: line["warnings"] for line in cart["lines"] if "warnings" in line}


async def test_a_line_above_the_stock_says_how_many_units_there_are() -> None:
    async with shop_server() as shop:
        cart = f"/v1/carts/{await shop.cart_of(MUG, 100)}"
        assert warnings((await shop.call("GET", cart)).json()) == {}
        added = await shop.call("POST", f"{cart}/lines", {"sku": MUG, "quantity": 1})
        short = {MUG: [{"code": "insufficient-stock", "available": 100}]}
        assert warnings(added.json()) == short
        read = await shop.call("GET", cart)
        assert warnings(read.json()) == short

        shop.catalog.stock[Sku(MUG)] = 7
        await shop.stock_watch.refresh()
        changed = await shop.call("GET", cart, None, f"If-None-Match: {read['ETag']}")
        assert (changed.status, warnings(changed.json())[MUG][0]["available"]) == (200, 7)
        assert (await shop.call("GET", cart, None, f"If-None-Match: {changed['ETag']}")).status == 304

        await shop.price(MUG, 300)
        shop.catalog.stock[Sku(MUG)] = 100
        await shop.stock_watch.refresh()
        codes = [each["code"] for each in warnings((await shop.call("GET", cart)).json())[MUG]]
        assert codes == ["price-changed", "insufficient-stock"]
        enough = await shop.call("PUT", f"{cart}/lines/{MUG}", {"quantity": 100})
        assert warnings(enough.json()) == {}


async def test_an_ordered_cart_has_no_warning_of_stock() -> None:
    async with shop_server() as shop:
        cart_id = await shop.cart_of(BOX)
        assert (await shop.check_out(cart_id)).status == 202
        shop.catalog.stock[Sku(BOX)] = 0
        await shop.stock_watch.refresh()
        assert warnings((await shop.call("GET", f"/v1/carts/{cart_id}")).json()) == {}


class Warm:
    """Handlers on a store whose calls are recorded, and a cart with two lines of which one is short."""

    def __init__(self, store: Client, *, show_stock: bool = True) -> None:
        self.recording = RecordingStore(store)
        self.catalog = RedisCatalog(self.recording)
        self.stock_watch = StockWatch(self.catalog)
        self.handlers = CartHandlers(
            RedisCarts(self.recording), RedisPriceBook(self.recording), stock=self.stock_watch, show_stock=show_stock
        )

    async def cart(self) -> str:
        await self.catalog.put([CatalogRow(Sku(sku), sku, 255, "GBP", 3) for sku in (MUG, BOX)])
        cart = (await self.handlers.create(NewCart())).cart
        for sku, quantity in ((MUG, 1), (BOX, 4)):
            await self.handlers.add_line(cart.id, AddLine(sku, quantity))
        return cart.id

    async def calls_of(self, call: Any) -> int:
        before = len(self.recording.replies)
        await call
        return len(self.recording.replies) - before


async def test_a_warm_read_and_a_warm_addition_are_one_call_of_the_store(store: Client) -> None:
    warm = Warm(store)
    cart_id = await warm.cart()
    for _ in range(3):
        assert await warm.calls_of(warm.handlers.read(cart_id)) == 1
        assert await warm.calls_of(warm.handlers.add_line(cart_id, AddLine(MUG, 1))) == 1
    await warm.stock_watch.refresh()
    assert await warm.calls_of(warm.handlers.read(cart_id)) == 1


@pytest.mark.parametrize("show_stock", [True, False])
async def test_the_count_is_hidden_where_the_shop_hides_it(store: Client, show_stock: bool) -> None:
    warm = Warm(store, show_stock=show_stock)
    view = await warm.handlers.read(await warm.cart())
    available = b'"available":3' if show_stock else b'"insufficient-stock"}'
    assert available in view.to_json()
    assert (b"available" in view.to_json()) is show_stock


async def test_a_change_of_stock_that_no_cart_shows_renders_none_again(store: Client) -> None:
    warm = Warm(store)
    cart_id = await warm.cart()
    rendered = await warm.handlers.read(cart_id)
    for units, is_same in ((3, True), (2, False)):
        await warm.catalog.put([CatalogRow(Sku(BOX), stock=units)])
        await warm.stock_watch.refresh()
        assert ((await warm.handlers.read(cart_id)) is rendered) is is_same
