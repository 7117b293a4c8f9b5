"""ETag, If-None-Match and If-Match on the shop's own calls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.gateway.shop_server import BOX, MUG, ShopServer, shop_server


@pytest.fixture
async def shop() -> AsyncIterator[ShopServer]:
    async with shop_server() as shop:
        yield shop


@pytest.mark.parametrize("target", ["/v1", "http://shop/v1"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_unchanged_cart_gets_304(shop: ShopServer, target: str, method: str) -> None:
    cart = f"{target}/carts/{await shop.cart_of()}"
    first = await shop.call(method, cart)
    for known in (first["ETag"], f"W/{first['ETag']}", f'"1.0", {first["ETag"]}', "*"):
        again = await shop.call(method, cart, None, f"If-None-Match: {known}")
        assert (again.status, again.body, again["ETag"]) == (304, b"", first["ETag"])
    other = await shop.call(method, cart, None, 'If-None-Match: "1.00000000"')
    assert other.status == 200


async def test_the_etag_changes_with_the_cart_and_its_prices(shop: ShopServer) -> None:
    cart_id = await shop.cart_of()
    tags = {(await shop.call("GET", f"/v1/carts/{cart_id}"))["ETag"]}
    await shop.price(MUG, 300)
    tags.add((await shop.call("GET", f"/v1/carts/{cart_id}"))["ETag"])
    await shop.call("POST", f"/v1/carts/{cart_id}/lines", {"sku": MUG, "quantity": 1})
    tags.add((await shop.call("GET", f"/v1/carts/{cart_id}"))["ETag"])
    assert len(tags) == 3


async def test_products_and_pages_have_etags_and_may_be_cached_briefly(shop: ShopServer) -> None:
    for path in (f"/v1/products/{MUG}", "/v1/products?limit=1"):
        first = await shop.call("GET", path)
        assert first["Cache-Control"] == "public, max-age=1"
        again = await shop.call("GET", path, None, f"If-None-Match: {first['ETag']}")
        assert (again.status, again["Cache-Control"]) == (304, "public, max-age=1")
        await shop.price(MUG, 256)
        changed = await shop.call("GET", path, None, f"If-None-Match: {first['ETag']}")
        assert changed.status == 200
        await shop.price(MUG, 255)


async def test_if_none_match_does_not_prevent_a_write(shop: ShopServer) -> None:
    lines = f"/v1/carts/{await shop.cart_of()}/lines"
    response = await shop.call("POST", lines, {"sku": BOX, "quantity": 1}, "If-None-Match: *")
    assert response.status == 200


@pytest.mark.parametrize("form", ['"{version}"', "{tag}", '"{version}.00000000"', "*"])
async def test_every_write_accepts_if_match_of_the_current_version(shop: ShopServer, form: str) -> None:
    cart = f"/v1/carts/{await shop.cart_of()}"
    for method, path, body in await writes(shop):
        seen = await shop.call("GET", cart)
        wanted = form.format(version=seen.json()["version"], tag=seen["ETag"])
        response = await shop.call(method, cart + path, body, f"If-Match: {wanted}")
        assert response.status in {200, 204}, (method, path, response)


@pytest.mark.parametrize("wanted", ['"1"', '"99"', '"1.00000000"', 'W/"2"', '"nonsense"', '""', '"1", "2"'])
async def test_every_write_is_rejected_with_if_match_of_another_version(shop: ShopServer, wanted: str) -> None:
    cart_id = await shop.cart_of()
    cart = f"/v1/carts/{cart_id}"
    before = await shop.call("GET", cart)
    for method, path, body in await writes(shop):
        response = await shop.call(method, cart + path, body, f"If-Match: {wanted}")
        assert (response.status, response.problem) == (412, "version-mismatch"), (method, path)
        assert response.json()["current_version"] == 2
    assert (await shop.call("GET", cart)).body == before.body


async def writes(shop: ShopServer) -> list[tuple[str, str, object]]:
    """Every call that changes a cart of one line; the last deletes it."""
    return [
        ("POST", "/lines", {"sku": BOX, "quantity": 1}),
        ("PUT", f"/lines/{MUG}", {"quantity": 4}),
        ("PATCH", "/lines", [{"sku": MUG, "quantity": 5}]),
        ("DELETE", f"/lines/{MUG}", None),
        ("POST", "/merge", {"from": await shop.cart_of(), "strategy": "max"}),
        ("DELETE", "", None),
    ]
