"""A client that is generated from the OpenAPI document is complete, and understands every response."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

from tests.integration.gateway.api.test_response_schemas import DOCUMENT
from tests.integration.gateway.shop_server import BOX, MUG, ShopServer, shop_server

PACKAGE = "generated_peakgate_client"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a package with the client, made by openapi-python-client without a warning."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_bytes(orjson.dumps(DOCUMENT))
    (folder / "config.yml").write_text("post_hooks: []\n")
    generated = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none"),
            *("--path", folder / "openapi.json", "--config", folder / "config.yml"),
            *("--output-path", folder / PACKAGE),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert generated.returncode == 0, generated.stdout + generated.stderr
    sys.path.insert(0, str(folder))
    yield PACKAGE
    sys.path.remove(str(folder))


class Client:
    """The generated client of a shop."""

    def __init__(self, package: str, shop: ShopServer) -> None:
        self._package = package
        self._client: Any = self.module("client").Client(base_url=f"http://127.0.0.1:{shop.port}")

    def module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{self._package}.{name}")

    def model(self, name: str, values: dict[str, Any]) -> Any:
        return getattr(self.module("models"), name).from_dict(values)

    async def call(self, operation: str, *arguments: Any, **options: Any) -> Any:
        """The parsed response of an operation such as `carts.add_line`."""
        response = await self.module(f"api.{operation}").asyncio_detailed(*arguments, client=self._client, **options)
        assert response.parsed is not None or response.status_code == 204, response
        return response.parsed

    async def close(self) -> None:
        await self._client.get_async_httpx_client().aclose()


def test_every_operation_and_schema_is_in_the_client(package: str) -> None:
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            module = importlib.import_module(f"{package}.api.{operation['tags'][0]}.{operation['operationId']}")
            assert callable(module.asyncio_detailed)
    models = importlib.import_module(f"{package}.models")
    assert set(DOCUMENT["components"]["schemas"]) <= set(dir(models))


def test_every_json_response_is_parsed_by_the_client(package: str) -> None:
    folder = Path(importlib.import_module(package).__path__[0])
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            text = (folder / "api" / operation["tags"][0] / f"{operation['operationId']}.py").read_text()
            assert [status for status in operation["responses"] if f"status_code == {status}" not in text] == []


async def test_the_client_buys(package: str) -> None:
    async with shop_server() as shop:
        client = Client(package, shop)
        cart = await client.call("carts.create_cart", body=client.model("NewCart", {"currency": "GBP"}))
        line = client.model("AddLine", {"sku": MUG, "quantity": 2})
        assert (await client.call("carts.add_line", cart.id, body=line)).item_count == 2
        quantity = client.model("PutLine", {"quantity": 3})
        assert (await client.call("carts.set_line", cart.id, MUG, body=quantity)).total.amount == 765
        lines = [client.model("SetLine", {"sku": BOX, "quantity": 1})]
        assert len((await client.call("carts.set_lines", cart.id, body=lines)).lines) == 2
        assert len((await client.call("carts.remove_line", cart.id, BOX)).lines) == 1
        assert (await client.call("products.read_product", MUG)).in_stock
        assert len((await client.call("products.list_products", limit=1)).products) == 1
        address = {"name": "Ada", "line1": "1 Row", "city": "London", "postcode": "N1", "country": "GB"}
        body = {
            "cart_id": cart.id,
            "email": "ada@example.com",
            "shipping_address": address,
            "payment": {"token": "tok_ok"},
        }
        wanted = client.model("CheckoutRequest", body)
        order = await client.call("orders.check_out", body=wanted, idempotency_key="once")
        assert (order.status.value, order.total.amount) == ("accepted", 765)
        assert (await client.call("orders.cancel_order", order.id)).reason.value == "requested"
        assert (await client.call("orders.read_order", order.id)).status.value == "cancelled"
        assert (await client.call("carts.read_cart", cart.id)).order_id == order.id
        await client.close()


async def test_the_client_understands_problems(package: str) -> None:
    async with shop_server() as shop:
        client = Client(package, shop)
        missing = await client.call("carts.read_cart", "none")
        assert (missing.status, missing.type_) == (404, "/problems/cart-not-found")
        cart = await client.call("carts.create_cart")
        nothing = await client.call(
            "carts.add_line", cart.id, body=client.model("AddLine", {"sku": MUG, "quantity": 0})
        )
        assert [fault.pointer for fault in nothing.errors] == ["/quantity"]
        many = client.model("AddLine", {"sku": MUG, "quantity": 100_000})
        assert (await client.call("carts.add_line", cart.id, body=many)).limit == 10_000
        one = client.model("AddLine", {"sku": MUG, "quantity": 1})
        assert (await client.call("carts.add_line", cart.id, body=one, if_match='"9"')).current_version == 1
        await client.close()
