"""Signed-in shoppers on the shop's own routes: whose cart is whose, over both places that keep carts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.auth.authentication import authentication
from gateway.auth.client_identifier import ClientIdentifier, api_key_digest
from gateway.auth.identity import identity
from gateway.auth.jwks import Jwks
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.config.policies import ApiKey, Identity, Shoppers
from gateway.http.message import stack
from store import Store
from tests.integration.gateway.shop_server import MUG, ShopServer, shop_server
from tests.integration.gateway.small_server import get
from tests.issuer import AUDIENCE, ISSUER, NOW, Issuer, IssuerServer, bearer, issuer_server
from tests.raw_http import RawResponse

POLICY = Identity(
    trusted_proxies=("127.0.0.0/8",),
    deny=("192.0.2.0/24",),
    api_keys=(ApiKey(name="app", sha256=api_key_digest("the-key-of-the-app")),),
)


class SignedIn:
    """The shop behind both layers, and an issuer of tokens that it believes."""

    def __init__(self, shop: ShopServer, shown: IssuerServer, tokens: ShopperTokens) -> None:
        self.shop = shop
        self.shown = shown
        self.tokens = tokens
        self._tokens: dict[str, str] = {}

    def as_shopper(self, shopper: str | None) -> tuple[str, ...]:
        """The header lines of a shopper, none for one who is not signed in."""
        if shopper is None:
            return ()
        if shopper not in self._tokens:
            self._tokens[shopper] = self.shown.issuer.token(sub=shopper)
        return (f"Authorization: {bearer(self._tokens[shopper])}",)

    async def call(self, shopper: str | None, method: str, path: str, body: Any = None, *lines: str) -> RawResponse:
        """One call by a shopper."""
        return await self.shop.call(method, path, body, *self.as_shopper(shopper), *lines)

    async def cart_of(self, shopper: str | None) -> str:
        """The path of a shopper's new cart with a mug in it."""
        cart = (await self.call(shopper, "POST", "/v1/carts"))["Location"]
        assert (await self.call(shopper, "POST", f"{cart}/lines", {"sku": MUG, "quantity": 2})).status == 200
        return cart

    async def order(self, shopper: str | None, cart: str, key: str = "once") -> RawResponse:
        """Order a cart."""
        body = {
            "cart_id": cart.rpartition("/")[2],
            "email": "ada@example.com",
            "shipping_address": {
                "name": "A",
                "line1": "1 Row",
                "city": "London",
                "postcode": "N1 1AA",
                "country": "GB",
            },
            "payment": {"token": "tok_ok"},
        }
        return await self.call(shopper, "POST", "/v1/checkout", body, f"Idempotency-Key: {key}")


@pytest.fixture(params=["memory", "redis"])
def place(request: pytest.FixtureRequest) -> Store | None:
    """Where carts and orders are kept; None for memory."""
    return request.getfixturevalue("store") if request.param == "redis" else None


@pytest.fixture
async def signed_in(place: Store | None) -> AsyncIterator[SignedIn]:
    async with issuer_server(Issuer()) as shown:
        jwks = Jwks(shown.url)
        tokens = ShopperTokens(Shoppers(issuer=ISSUER, audience=AUDIENCE, jwks_url=shown.url), jwks, now=lambda: NOW)
        fetching = asyncio.create_task(jwks.run())
        layers = stack(identity(ClientIdentifier(POLICY), tokens), authentication(tokens))
        async with shop_server(layers=layers, store=place) as shop:
            yield SignedIn(shop, shown, tokens)
        fetching.cancel()
        with suppress(asyncio.CancelledError):
            await fetching


STRANGERS = ("bob", None)


def cart_calls(cart: str, other: str) -> list[tuple[str, str, Any]]:
    line = f"{cart}/lines/{MUG}"
    return [
        ("GET", cart, None),
        ("HEAD", cart, None),
        ("POST", f"{cart}/lines", {"sku": MUG, "quantity": 1}),
        ("PATCH", f"{cart}/lines", [{"sku": MUG, "quantity": 5}]),
        ("PUT", line, {"quantity": 3}),
        ("DELETE", line, None),
        ("POST", f"{cart}/merge", {"from": other.rpartition("/")[2], "strategy": "sum"}),
        ("POST", f"{other}/merge", {"from": cart.rpartition("/")[2], "strategy": "sum"}),
        ("DELETE", cart, None),
    ]


async def test_a_shoppers_cart_is_not_found_by_others(signed_in: SignedIn) -> None:
    cart, other = await signed_in.cart_of("ada"), await signed_in.cart_of(None)
    read = await signed_in.call("ada", "GET", cart)
    for stranger in STRANGERS:
        for method, path, body in cart_calls(cart, other):
            refused = await signed_in.call(stranger, method, path, body)
            assert refused.status == 404, (stranger, method, path)
            assert method == "HEAD" or refused.problem == "cart-not-found"
    assert (await signed_in.call("ada", "GET", cart)).body == read.body
    *calls, _, last = cart_calls(cart, other)
    for method, path, body in calls:
        assert (await signed_in.call("ada", method, path, body)).status == 200, (method, path)
    assert (await signed_in.call("ada", *last)).status == 204


async def test_an_entity_tag_reveals_nothing_to_others(signed_in: SignedIn) -> None:
    cart = await signed_in.cart_of("ada")
    tag = (await signed_in.call("ada", "GET", cart))["ETag"]
    assert (await signed_in.call("ada", "GET", cart, None, f"If-None-Match: {tag}")).status == 304
    for stranger in STRANGERS:
        for known in (tag, "*"):
            refused = await signed_in.call(stranger, "GET", cart, None, f"If-None-Match: {known}")
            assert (refused.status, "ETag" in refused) == (404, False)
        refused = await signed_in.call(stranger, "DELETE", cart, None, f"If-Match: {tag}")
        assert refused.status == 404


async def test_requests_of_several_shoppers_on_one_connection_stay_separate(signed_in: SignedIn) -> None:
    """As behind a balancer: nothing that was learned of one request holds for the next."""
    cart = await signed_in.cart_of("ada")
    by_ada, by_bob = get(cart, *signed_in.as_shopper("ada")), get(cart, *signed_in.as_shopper("bob"))
    async with await signed_in.shop.client() as client:
        for _ in range(2):
            assert [(await client.request(each)).status for each in (by_ada, by_bob, get(cart))] == [200, 404, 404]


async def test_an_anonymous_cart_is_open_to_every_client_with_its_id_and_is_claimed_by_merging(
    signed_in: SignedIn,
) -> None:
    anonymous = await signed_in.cart_of(None)
    assert (await signed_in.call("bob", "GET", anonymous)).status == 200
    mine = (await signed_in.call("ada", "POST", "/v1/carts"))["Location"]
    merged = await signed_in.call(
        "ada", "POST", f"{mine}/merge", {"from": anonymous.rpartition("/")[2], "strategy": "sum"}
    )
    assert (merged.status, merged.json()["item_count"]) == (200, 2)
    again = {"from": anonymous.rpartition("/")[2], "strategy": "sum"}
    for stranger in STRANGERS:
        assert (await signed_in.call(stranger, "GET", mine)).status == 404
        # Nor does repeating the merge tell them anything.
        assert (await signed_in.call(stranger, "POST", f"{mine}/merge", again)).status == 404
        assert (await signed_in.call(stranger, "GET", anonymous)).json()["status"] == "merged"
    assert (await signed_in.call("ada", "POST", f"{mine}/merge", again)).status == 200


async def test_an_order_of_a_shoppers_cart_is_theirs(signed_in: SignedIn) -> None:
    cart = await signed_in.cart_of("ada")
    for stranger in STRANGERS:
        assert (await signed_in.order(stranger, cart, f"key of {stranger}")).problem == "cart-not-found"
    placed = await signed_in.order("ada", cart)
    assert placed.status == 202
    order = placed["Location"]
    assert (await signed_in.call("ada", "GET", order)).status == 200
    for stranger in STRANGERS:
        for method, path in (("GET", order), ("GET", f"{order}/events"), ("POST", f"{order}/cancel")):
            refused = await signed_in.call(stranger, method, path)
            assert (refused.status, refused.problem) == (404, "order-not-found")
    assert (await signed_in.call("ada", "POST", f"{order}/cancel")).status == 202
    events = await signed_in.call("ada", "GET", f"{order}/events")
    assert (events.status, events.body.count(b"event: status")) == (200, 2)


async def test_the_replay_of_a_checkout_reveals_nothing_to_others(signed_in: SignedIn) -> None:
    cart = await signed_in.cart_of("ada")
    placed = await signed_in.order("ada", cart)
    for stranger in STRANGERS:
        refused = await signed_in.order(stranger, cart)
        assert (refused.status, refused.problem) == (404, "cart-not-found")
        assert b"order" not in refused.body
    replayed = await signed_in.order("ada", cart)
    assert (replayed.status, replayed.body, replayed["Idempotent-Replayed"]) == (202, placed.body, "true")


async def test_an_anonymous_order_is_open_to_every_client_with_its_id(signed_in: SignedIn) -> None:
    order = (await signed_in.order(None, await signed_in.cart_of(None)))["Location"]
    for shopper in ("bob", None):
        shown = await signed_in.call(shopper, "GET", order)
        assert shown.status == 200
        # Its id is known to everyone who has the link of its cart.
        assert "shipping_address" not in shown.json()


async def test_the_order_of_an_anonymous_cart_is_that_of_the_shopper_who_checks_it_out(signed_in: SignedIn) -> None:
    cart = await signed_in.cart_of(None)
    placed = await signed_in.order("ada", cart)
    assert placed.json()["shipping_address"]["line1"] == "1 Row"
    order = placed["Location"]
    assert (await signed_in.call("ada", "GET", order)).json()["shipping_address"] == placed.json()["shipping_address"]
    for stranger in STRANGERS:
        for method, path in (("GET", order), ("GET", f"{order}/events"), ("POST", f"{order}/cancel")):
            refused = await signed_in.call(stranger, method, path)
            assert (refused.status, refused.problem) == (404, "order-not-found")
        # Nor does the cart show more of it than its id, which a replay does not either.
        assert (await signed_in.order(stranger, cart)).problem == "cart-closed"
    assert (await signed_in.order("ada", cart)).body == placed.body


async def test_an_invalid_token_is_denied_everywhere(signed_in: SignedIn) -> None:
    cart = await signed_in.cart_of(None)
    expired = signed_in.shown.issuer.token(exp=NOW - 3600)
    for line in (f"Authorization: {bearer(expired)}", "Authorization: Bearer x.y.z", "Authorization: Basic YTpi"):
        for method, path, body in (("GET", cart, None), ("POST", "/v1/carts", {}), ("GET", "/v1/products", None)):
            refused = await signed_in.shop.call(method, path, body, line)
            assert (refused.status, refused.problem) == (401, "unauthenticated")
            assert refused["WWW-Authenticate"].startswith('Bearer realm="peakgate"')
    assert (await signed_in.shop.call("GET", cart)).status == 200


async def test_a_new_key_of_the_issuer_is_fetched_once_for_its_first_tokens(signed_in: SignedIn) -> None:
    cart = await signed_in.cart_of("ada")
    fetched = signed_in.shown.fetches
    signed_in.shown.issuer.keys = {"ec-2": ("ES256", ec.generate_private_key(ec.SECP256R1()))}
    tokens = [signed_in.shown.issuer.token("ec-2", jti=str(number)) for number in range(20)]
    responses = await asyncio.gather(
        *(signed_in.shop.call("GET", cart, None, f"Authorization: {bearer(token)}") for token in tokens)
    )
    assert {response.status for response in responses} == {200}
    assert signed_in.shown.fetches == fetched + 1


async def test_a_forwarded_client_may_be_denied(signed_in: SignedIn) -> None:
    for forwarded, status in (("192.0.2.7", 403), ("198.51.100.7", 200), ("192.0.2.7, 198.51.100.7", 200)):
        response = await signed_in.call("ada", "GET", "/v1/products", None, f"X-Forwarded-For: {forwarded}")
        assert response.status == status
    split = await signed_in.call(
        None, "GET", "/v1/products", None, "X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 192.0.2.7"
    )
    assert (split.status, split.problem) == (403, "forbidden")


async def test_an_unknown_api_key_is_denied(signed_in: SignedIn) -> None:
    good = await signed_in.call(None, "GET", "/v1/products", None, "X-Api-Key: the-key-of-the-app")
    assert good.status == 200
    bad = await signed_in.call(None, "GET", "/v1/products", None, "X-Api-Key: made-up")
    assert (bad.status, bad.problem) == (401, "unauthenticated")


async def test_shoppers_list_their_own_orders_page_by_page(signed_in: SignedIn) -> None:
    def ids(page: RawResponse) -> list[str]:
        assert page.status == 200
        return [order["id"] for order in page.json()["orders"]]

    placed = []
    for number in range(3):
        order = await signed_in.order("ada", await signed_in.cart_of("ada"), key=f"key {number}")
        placed.append(order.json()["id"])
    await signed_in.order("bob", await signed_in.cart_of("bob"), key="another key")

    first = await signed_in.call("ada", "GET", "/v1/orders?limit=2")
    second = await signed_in.call("ada", "GET", f"/v1/orders?limit=2&cursor={first.json()['next_cursor']}")
    assert sorted([*ids(first), *ids(second)]) == sorted(placed)
    assert (len(ids(first)), second.json()["next_cursor"]) == (2, None)
    assert first["Cache-Control"] == "no-store"
    foreign = await signed_in.call("bob", "GET", f"/v1/orders?cursor={placed[0]}")
    assert (foreign.status, foreign.problem) == (422, "invalid-body")


async def test_a_list_of_orders_needs_somebody_who_is_signed_in(signed_in: SignedIn) -> None:
    refused = await signed_in.call(None, "GET", "/v1/orders")
    assert (refused.status, refused.problem, refused["WWW-Authenticate"]) == (
        401,
        "unauthenticated",
        'Bearer realm="peakgate"',
    )


async def test_a_shopper_has_one_own_cart_which_takes_over_an_anonymous_one(signed_in: SignedIn) -> None:
    first = await signed_in.call("ada", "GET", "/v1/carts/mine")
    mine = f"/v1/carts/{first.json()['id']}"
    assert (first.status, first.json()["lines"], first["Cache-Control"]) == (200, [], "private, no-cache")
    anonymous = (await signed_in.cart_of(None)).rpartition("/")[2]
    await signed_in.call("ada", "POST", f"{mine}/merge", {"from": anonymous, "strategy": "sum"})

    again = await signed_in.call("ada", "GET", "/v1/carts/mine")
    assert (again.json()["id"], again.json()["item_count"]) == (first.json()["id"], 2)
    assert again["ETag"] == (await signed_in.call("ada", "GET", mine))["ETag"]
    unchanged = await signed_in.call("ada", "GET", "/v1/carts/mine", None, f"If-None-Match: {again['ETag']}")
    assert unchanged.status == 304
    assert (await signed_in.call("bob", "GET", "/v1/carts/mine")).json()["id"] != first.json()["id"]
    for stranger in STRANGERS:
        assert (await signed_in.call(stranger, "GET", mine)).status == 404

    assert (await signed_in.order("ada", mine)).status == 202
    following = await signed_in.call("ada", "GET", "/v1/carts/mine")
    assert (following.json()["status"], following.json()["lines"]) == ("open", [])
    assert following.json()["id"] != first.json()["id"]


async def test_the_own_cart_needs_somebody_who_is_signed_in(signed_in: SignedIn) -> None:
    refused = await signed_in.call(None, "GET", "/v1/carts/mine")
    assert (refused.status, refused.problem, refused["WWW-Authenticate"]) == (
        401,
        "unauthenticated",
        'Bearer realm="peakgate"',
    )
