"""During an overload the replay of an accepted order is served, and every other checkout is shed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import RedisCatalog
from cart.model import Sku
from gateway.resilience.shedder import Shedder
from store import Client, StoreTimeout
from tests.integration.gateway.proxy.raw_upstream import always
from tests.integration.gateway.small_server import post
from tests.integration.gateway.whole_gateway import Received, WholeGateway, whole_gateway

ADDRESS = {"name": "Ada", "line1": "1 Row", "city": "London", "postcode": "N1 1AA", "country": "GB"}


async def call(gateway: WholeGateway, path: str, body: Any, *headers: str) -> Received:
    return await gateway.send(
        post(path, orjson.dumps(body), "Content-Type: application/json", "Connection: close", *headers)
    )


async def a_cart(gateway: WholeGateway) -> str:
    cart_id = str(orjson.loads((await call(gateway, "/v1/carts", {})).body)["id"])
    added = await call(gateway, f"/v1/carts/{cart_id}/lines", {"sku": "mug", "quantity": 1})
    assert added.status == 200
    return cart_id


async def check_out(gateway: WholeGateway, cart_id: str, key: str = "once") -> Received:
    body = {
        "cart_id": cart_id,
        "email": "ada@example.com",
        "shipping_address": ADDRESS,
        "payment": {"token": "tok_ok"},
    }
    return await call(gateway, "/v1/checkout", body, f"Idempotency-Key: {key}")


async def test_only_the_replay_of_an_accepted_order_is_admitted(
    store: Client, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await RedisCatalog(store).put([CatalogRow(Sku("mug"), "Mug", 255, "GBP", 10)])
    is_overloaded = False
    admits = Shedder.admits
    monkeypatch.setattr(Shedder, "admits", lambda *call: not is_overloaded and admits(*call))
    async with whole_gateway(store_url, tmp_path, always(b"")) as gateway:
        ordered, other = await a_cart(gateway), await a_cart(gateway)
        placed = await check_out(gateway, ordered)
        assert placed.status == 202

        is_overloaded = True
        replayed = await check_out(gateway, ordered)
        assert (replayed.status, replayed.body, replayed["Idempotent-Replayed"]) == (202, placed.body, b"true")
        # The key of one cart admits no other cart, and the cart no other key.
        for shed in (await check_out(gateway, other), await check_out(gateway, ordered, "another")):
            assert (shed.status, orjson.loads(shed.body)["type"]) == (503, "/problems/overloaded")

        # What cannot be looked up is shed, and says so: it has changed nothing.
        async def late(*_args: object, **_options: object) -> bool:
            raise StoreTimeout("late", may_have_run=True)

        monkeypatch.setattr("checkout.handlers.CheckoutHandlers.is_replay", late)
        shed = await check_out(gateway, ordered)
        assert (shed.status, orjson.loads(shed.body)["type"]) == (503, "/problems/overloaded")
        assert "may_have_run" not in orjson.loads(shed.body)
