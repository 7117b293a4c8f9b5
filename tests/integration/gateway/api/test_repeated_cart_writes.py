"""A client that repeats a change of a cart after a 503, with its idempotency key, makes it once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from store import Client, StoreUnavailable
from tests.contract.cart.stores import StoreProxy
from tests.integration.gateway.shop_server import BOX, MUG, ShopServer, shop_server


class ForgetfulStore(StoreProxy):
    """A store that runs the next `lost` calls and loses their replies."""

    lost = 0

    async def around(self, call: Callable[[], Awaitable[Any]]) -> Any:
        reply = await call()
        if self.lost:
            self.lost -= 1
            raise StoreUnavailable("lost", may_have_run=True)
        return reply


async def quantities(shop: ShopServer, cart: str) -> dict[str, int]:
    lines = (await shop.call("GET", cart)).json()["lines"]
    return {line["sku"]: line["quantity"] for line in lines}


async def test_twenty_additions_whose_replies_were_lost_are_in_the_cart_once(store: Client) -> None:
    forgetful = ForgetfulStore(store)
    async with shop_server(store=forgetful) as shop:
        cart = f"/v1/carts/{await shop.cart_of(BOX)}"
        for n in range(20):
            forgetful.lost = 1
            call = ("POST", f"{cart}/lines", {"sku": MUG, "quantity": 1}, f"Idempotency-Key: add-{n}")
            refused = await shop.call(*call)
            assert (refused.status, refused["Retry-After"]) == (503, "1")
            assert refused.json()["may_have_run"] is True
            assert (await shop.call(*call)).status == 200
        assert await quantities(shop, cart) == {BOX: 1, MUG: 20}


@pytest.mark.parametrize(
    ("method", "path", "body", "then"),
    [
        ("POST", "/lines", {"sku": MUG, "quantity": 3}, {BOX: 1, MUG: 3}),
        ("PUT", f"/lines/{MUG}", {"quantity": 3}, {BOX: 1, MUG: 3}),
        ("PATCH", "/lines", [{"sku": MUG, "quantity": 3}, {"sku": BOX, "quantity": 0}], {MUG: 3}),
        ("DELETE", f"/lines/{BOX.replace(' ', '%20')}", None, {}),
    ],
)
async def test_a_change_is_made_once_and_not_again_after_another_one(
    store: Client, method: str, path: str, body: object, then: dict[str, int]
) -> None:
    forgetful = ForgetfulStore(store)
    async with shop_server(store=forgetful) as shop:
        cart = f"/v1/carts/{await shop.cart_of(BOX)}"
        forgetful.lost = 1
        assert (await shop.call(method, cart + path, body, "Idempotency-Key: k1")).status == 503
        assert await quantities(shop, cart) == then
        await shop.call("PUT", f"{cart}/lines/{MUG}", {"quantity": 9})
        repeated = await shop.call(method, cart + path, body, "Idempotency-Key: k1")
        assert repeated.status == 200
        assert (await quantities(shop, cart))[MUG] == 9
        assert repeated["ETag"] == (await shop.call("GET", cart))["ETag"]

        other = {"sku": MUG, "quantity": 7}
        reused = await shop.call("POST", f"{cart}/lines", other, "Idempotency-Key: k1")
        assert (reused.status, reused.json()["type"]) == (422, "/problems/idempotency-key-reused")
        assert (await quantities(shop, cart))[MUG] == 9


async def test_a_merge_and_a_deletion_may_be_repeated(store: Client) -> None:
    forgetful = ForgetfulStore(store)
    async with shop_server(store=forgetful) as shop:
        target, source = await shop.cart_of(MUG), await shop.cart_of(BOX)
        merge = ("POST", f"/v1/carts/{target}/merge", {"from": source, "strategy": "sum"}, "Idempotency-Key: k1")
        assert (await shop.call(*merge)).json()["item_count"] == 2
        await shop.call("DELETE", f"/v1/carts/{target}/lines/{MUG}")
        assert (await shop.call(*merge)).json()["item_count"] == 1

        delete = ("DELETE", f"/v1/carts/{target}", None, "Idempotency-Key: k2")
        forgetful.lost = 1
        assert (await shop.call(*delete)).status == 503
        assert (await shop.call(*delete)).status == 204
        assert (await shop.call("DELETE", f"/v1/carts/{target}")).status == 404


@pytest.mark.parametrize("key", ["x" * 256, "\u00e9"])
async def test_an_invalid_key_is_refused(key: str) -> None:
    async with shop_server() as shop:
        cart = f"/v1/carts/{await shop.cart_of()}"
        refused = await shop.call("POST", f"{cart}/lines", {"sku": MUG, "quantity": 1}, f"Idempotency-Key: {key}")
        assert (refused.status, refused.json()["type"]) == (400, "/problems/idempotency-key-missing")
        assert await quantities(shop, cart) == {MUG: 1}
