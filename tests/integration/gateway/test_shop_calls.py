"""Every call of the API as a shopper makes it: status, headers and body."""

from __future__ import annotations

from tests.integration.gateway.shop_server import BOX, MUG, shop_server


async def test_every_cart_call_answers_with_the_cart_and_its_tag() -> None:
    async with shop_server() as shop:
        made = await shop.call("POST", "/v1/carts", {"currency": "GBP"})
        cart = f"/v1/carts/{made.json()['id']}"
        assert (made.status, made["Location"]) == (201, cart)
        calls = [
            ("POST", "/lines", {"sku": MUG, "quantity": 2}),
            ("PUT", f"/lines/{BOX.replace(' ', '%20')}", {"quantity": 3}),
            ("PATCH", "/lines", [{"sku": MUG, "quantity": 5}]),
            ("DELETE", f"/lines/{MUG}", None),
            ("POST", "/merge", {"from": await shop.cart_of(), "strategy": "sum"}),
        ]
        for version, (method, path, body) in enumerate(calls, start=2):
            answer = await shop.call(method, cart + path, body)
            assert (answer.status, answer.json()["version"]) == (200, version), (method, path)
            assert answer["ETag"].startswith(f'"{version}.')
            assert (await shop.call("GET", cart))["ETag"] == answer["ETag"]


async def test_a_cart_is_deleted_once() -> None:
    async with shop_server() as shop:
        cart = f"/v1/carts/{await shop.cart_of()}"
        refused = await shop.call("DELETE", cart, None, 'If-Match: "1"')
        assert (refused.status, refused.problem, refused.json()["current_version"]) == (412, "version-mismatch", 2)
        deleted = await shop.call("DELETE", cart, None, 'If-Match: "2"')
        assert (deleted.status, deleted.body) == (204, b"")
        again = await shop.call("DELETE", cart)
        assert (again.status, again.problem) == (404, "cart-not-found")
