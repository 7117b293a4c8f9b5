"""Agents at a whole gateway, over HTTP: keys, header fields, status codes, errors, and the shape of every response.

The shapes are those of the protocol's OpenAPI document, version 2026-04-17: the members that an object must have, and those
that it may have besides.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import RedisCatalog
from cart.model import Sku
from gateway import compose
from gateway.config.policies import Agents, ApiKey, Identity, Limit, Policies
from gateway.prerequisites import StoreAddress
from gateway.settings import Settings
from store import Client
from tests.integration.gateway.resilience.shopping import SKU, Shop
from tests.raw_http import RawResponse

KEY, OTHER, SHOPPER = "a" * 32, "b" * 32, "c" * 32
SESSIONS = "/v1/acp/checkout_sessions"
CREATE = {
    "line_items": [{"id": "1", "item": {"id": SKU}, "quantity": 2, "totals": []}],
    "currency": "gbp",
    "capabilities": {},
    "buyer": {"email": "ada@example.com", "first_name": "Ada"},
    "fulfillment_details": {
        "address": {
            "name": "Ada Lovelace",
            "line_one": "12 St James's Square",
            "city": "London",
            "state": "LDN",
            "country": "GB",
            "postal_code": "SW1Y 4JH",
        }
    },
}
PAY = {
    "payment_data": {
        "handler_id": "h1",
        "instrument": {"type": "card", "credential": {"type": "spt", "token": "tok_ok"}},
    }
}
# By the name of the object: what it must have, and what it may have.
SHAPES: Mapping[str, tuple[set[str], set[str]]] = {
    "session": (
        {
            "id",
            "status",
            "currency",
            "line_items",
            "totals",
            "fulfillment_options",
            "messages",
            "links",
            "capabilities",
        },
        {
            *("protocol", "buyer", "fulfillment_details", "selected_fulfillment_options", "order"),
            *("created_at", "updated_at", "expires_at"),
        },
    ),
    "line_items": (
        {"id", "item", "quantity", "totals"},
        {"name", "sku", "unit_amount", "availability_status", "available_quantity"},
    ),
    "totals": ({"type", "display_text", "amount"}, set()),
    "fulfillment_options": ({"type", "id", "title", "totals"}, set()),
    "selected_fulfillment_options": ({"type", "option_id", "item_ids"}, set()),
    "messages": ({"type", "code", "content_type", "content"}, {"param"}),
    "order": (
        {"id", "checkout_session_id", "permalink_url"},
        {"type", "order_number", "status", "line_items", "adjustments", "totals"},
    ),
    "error": ({"type", "code", "message"}, {"param"}),
}
STATUSES = {"not_ready_for_payment", "ready_for_payment", "completed", "canceled"}
TOTAL_TYPES = {"items_base_amount", "subtotal", "fulfillment", "total", "amount_refunded"}


def check_shape(name: str, value: Mapping[str, Any]) -> None:
    required, optional = SHAPES[name]
    assert required <= value.keys() <= required | optional, (name, value.keys())


def check_session(session: Mapping[str, Any]) -> None:
    check_shape("session", session)
    assert session["status"] in STATUSES
    for name in ("line_items", "totals", "fulfillment_options", "selected_fulfillment_options", "messages"):
        for each in session[name]:
            check_shape(name, each)
    for total in session["totals"]:
        assert total["type"] in TOTAL_TYPES
        assert isinstance(total["amount"], int)
    if session["status"] == "completed":
        check_shape("order", session["order"])


class Agent:
    def __init__(self, shop: Shop, key: str = KEY) -> None:
        self._shop = shop
        self._key = key
        self._calls = 0

    async def send(self, path: str, body: Any, *headers: str, method: str = "POST") -> RawResponse:
        given = {line.partition(":")[0].lower() for line in headers}
        fields = [*headers, "Request-Id: r1"]
        if "authorization" not in given:
            fields.append(f"Authorization: Bearer {self._key}")
        if method == "POST" and "idempotency-key" not in given:
            self._calls += 1
            fields.append(f"Idempotency-Key: key-{self._calls}")
        response = await self._shop.call(method, SESSIONS + path, body, *fields)
        if response.status < 400:
            check_session(response.json())
        return response

    async def get(self, session_id: str) -> RawResponse:
        return await self.send(f"/{session_id}", None, method="GET")

    async def create(self, *headers: str, **changes: Any) -> RawResponse:
        return await self.send("", CREATE | changes, *headers)


def error_of(response: RawResponse) -> tuple[int, str]:
    check_shape("error", response.json())
    return response.status, response.json()["code"]


def entry(name: str, key: str) -> ApiKey:
    return ApiKey(name=name, sha256=hashlib.sha256(key.encode()).hexdigest())


@pytest.fixture
async def shop(request: pytest.FixtureRequest, store: Client, store_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    await RedisCatalog(store).put([CatalogRow(Sku(SKU), "a mug", 255, "GBP", 10)])
    agents = Agents(
        keys=("openai", "other"),
        quota=getattr(request, "param", 1_000),
        order_url="https://shop.example/o/{order_id}",
    )
    policies = Policies(
        identity=Identity(api_keys=(entry("openai", KEY), entry("other", OTHER), entry("app", SHOPPER))),
        agents=agents,
        limits=(Limit(name="clients", by="address", quota=100_000),),
    )
    async with AsyncExitStack() as stack:
        settings = Settings(data_dir=tmp_path, policies=policies, workers=1)
        gateway = await compose.gateway(settings, StoreAddress(store_url, is_embedded=False), stack, worker_name="s:0a")
        server = await asyncio.get_running_loop().create_server(gateway.edge.protocol, "127.0.0.1", 0)
        stack.push_async_callback(gateway.edge.drain, 0.0)
        stack.callback(server.close)
        yield Shop(gateway, server.sockets[0].getsockname()[1])


async def test_an_agent_buys(shop: Shop) -> None:
    agent = Agent(shop)
    created = await agent.create("API-Version: 2026-04-17")
    assert (created.status, created.json()["status"]) == (201, "ready_for_payment")
    assert (created["Idempotency-Key"], created["Request-Id"]) == ("key-1", "r1")
    session = created.json()["id"]

    updated = await agent.send(f"/{session}", {"line_items": [{"item": {"id": SKU}, "quantity": 3}]})
    assert (updated.status, updated.json()["totals"][-1]["amount"]) == (200, 765)

    completed = await agent.send(f"/{session}/complete", PAY)
    order = completed.json()["order"]
    assert (completed.status, order["permalink_url"]) == (200, f"https://shop.example/o/{order['id']}")
    await shop.until_completed(order["id"])
    assert (await agent.get(session)).json()["order"]["status"] == "confirmed"
    assert error_of(await agent.send(f"/{session}/cancel", {})) == (405, "not_cancelable")


async def test_a_repeated_call_says_so(shop: Shop) -> None:
    agent = Agent(shop)
    first, again = [await agent.create("Idempotency-Key: k") for _ in range(2)]
    assert (again.status, again["Idempotent-Replayed"]) == (201, "true")
    assert "Idempotent-Replayed" not in first
    assert again.json()["id"] == first.json()["id"]
    assert error_of(await agent.create("Idempotency-Key: k", currency="eur")) == (422, "idempotency_conflict")
    session = first.json()["id"]
    assert [(await agent.send(f"/{session}/cancel", {}, "Idempotency-Key: c")).status for _ in range(2)] == [200, 200]
    assert error_of(await agent.send(f"/{session}/cancel", {})) == (405, "not_cancelable")


@pytest.mark.parametrize("authorization", ["", f"Bearer {SHOPPER}", "Bearer nonsense", f"Basic {KEY}", "Bearer "])
async def test_only_agents_are_admitted(shop: Shop, authorization: str) -> None:
    refused = await Agent(shop).create(f"Authorization: {authorization}")
    assert error_of(refused) == (401, "unauthenticated")
    assert refused["WWW-Authenticate"].startswith("Bearer")


async def test_a_session_belongs_to_its_agent(shop: Shop) -> None:
    session = (await Agent(shop).create()).json()["id"]
    assert error_of(await Agent(shop, OTHER).get(session)) == (404, "not_found")
    assert error_of(await Agent(shop).get("nonsense")) == (404, "not_found")
    # The cart of a session is a cart, but nobody else can guess its id.
    assert (await shop.call("GET", f"/v1/carts/{session}")).status == 200


async def test_errors_name_what_is_wrong(shop: Shop) -> None:
    agent = Agent(shop)
    assert error_of(await agent.create("API-Version: 2025-09-29")) == (400, "unsupported_api_version")
    assert error_of(await agent.create("Idempotency-Key: ")) == (400, "idempotency_key_required")
    bad = await agent.create(line_items=[{"item": {"id": SKU}, "quantity": 0}])
    assert (error_of(bad), bad.json()["param"]) == ((400, "invalid"), "$.line_items[0].quantity")
    assert error_of(await agent.create(line_items=[{"item": {"id": SKU}, "quantity": 99_999}]))[0] == 422
    assert error_of(await agent.create(currency="zzz")) == (400, "invalid")
    many = await agent.create(line_items=[{"item": {"id": SKU}, "quantity": 11}])
    assert error_of(await agent.send(f"/{many.json()['id']}/complete", PAY)) == (409, "out_of_stock")
    homeless = (await agent.create(fulfillment_details={})).json()
    assert homeless["messages"][0]["param"] == "$.fulfillment_details.address"
    refused = await agent.send(f"/{homeless['id']}/complete", PAY)
    assert (error_of(refused), refused.json()["param"]) == ((400, "invalid"), "$.fulfillment_details.address")
    foreign = CREATE["fulfillment_details"] | {"address": CREATE["fulfillment_details"]["address"] | {"country": "ZZ"}}  # type: ignore[operator,index]
    nowhere = (await agent.create(fulfillment_details=foreign)).json()["id"]
    refused = await agent.send(f"/{nowhere}/complete", PAY)
    assert refused.json()["param"] == "$.fulfillment_details.address.country"
    garbage = await agent.send("", None, method="POST")
    assert error_of(garbage)[0] == 400


async def test_a_card_number_is_refused(shop: Shop) -> None:
    agent = Agent(shop)
    session = (await agent.create()).json()["id"]
    card = {"type": "card", "credential": {"type": "pan", "token": "4242424242424242"}}
    refused = await agent.send(f"/{session}/complete", {"payment_data": {"instrument": card}})
    assert (refused.status, refused.problem) == (422, "card-data-refused")


@pytest.mark.parametrize("shop", [3], indirect=True)
async def test_an_agent_has_a_quota_of_its_own(shop: Shop) -> None:
    agent, other = Agent(shop), Agent(shop, OTHER)
    session = (await agent.create()).json()["id"]
    statuses = [(await agent.get(session)).status for _ in range(8)]
    assert 429 in statuses
    assert (await other.create()).status == 201


async def test_the_document_of_the_shops_own_api_leaves_the_protocol_out(shop: Shop) -> None:
    paths = orjson.loads((await shop.call("GET", "/openapi.json")).body)["paths"]
    assert not [path for path in paths if "acp" in path]
