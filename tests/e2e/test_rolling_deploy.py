"""Gateways are replaced one after the other behind HAProxy, which repeats nothing, and no shopper notices."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.balancer import Balancer, balancing, has_balancer
from benchmarks.harness.gateway_process import checkout_of
from benchmarks.replay.books import audit_findings
from store.embedded import EmbeddedServer
from tests.e2e.running_shop import CATALOGUE, PATIENCE_S, RunningShop, eventually

SKU = "85123A"
SHOPPERS = 4
ROLLS = 4
# The balancer notices at its next check; the test ends the grace then, by a second SIGTERM.
GRACE_S = "600"


class Shopper(threading.Thread):
    """Orders one unit after the other over one connection, and records each response that is not as it should be."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.orders: list[str] = []
        self.failures: list[str] = []
        self._enough = threading.Event()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def run(self) -> None:
        while not self._enough.is_set() and not self.failures:
            try:
                cart = self._call("POST", "/v1/carts", {})["id"]
                self._call("POST", f"/v1/carts/{cart}/lines", {"sku": SKU, "quantity": 1})
                self.orders.append(str(self._call("POST", "/v1/checkout", checkout_of(cart), key=cart)["id"]))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
        self._connection.close()

    def leave(self) -> None:
        self._enough.set()
        self.join(PATIENCE_S)

    def _call(self, method: str, path: str, body: object, *, key: str = "") -> Any:
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        self._connection.request(method, path, json.dumps(body), headers)
        response = self._connection.getresponse()
        text = response.read()
        if not 200 <= response.status < 300:
            raise http.client.HTTPException(f"{method} {path} returned {response.status}: {text[:300]!r}")
        return json.loads(text)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A store that outlives the gateways."""
    server = EmbeddedServer(tmp_path / "store")
    server.start()
    yield server
    server.stop()


@contextmanager
def shopping(port: int) -> Iterator[list[Shopper]]:
    shoppers = [Shopper(port, f"shopper {number}") for number in range(SHOPPERS)]
    for shopper in shoppers:
        shopper.start()
    try:
        yield shoppers
    finally:
        for shopper in shoppers:
            shopper.leave()


def start(shop: RunningShop, store: EmbeddedServer, keys: Path) -> None:
    words = ("--workers", "1", "--gateways", "2", "--store-url", store.url, "--key-file", str(keys))
    shop.start(*words, "--catalog", str(CATALOGUE), "--drain-grace", GRACE_S)


def roll(
    old: str, new: str, shops: dict[str, RunningShop], balancer: Balancer, store: EmbeddedServer, keys: Path
) -> None:
    """Replace a gateway as a rolling deploy does: its successor first, and nothing is closed that the balancer still uses."""
    start(shops[new], store, keys)
    eventually(balancer.up, lambda up: new in up)
    os.kill(shops[old].pid, signal.SIGTERM)
    eventually(balancer.up, lambda up: old not in up)
    assert shops[old].stop() == 0, shops[old].log


def orders_of(shoppers: list[Shopper]) -> list[str]:
    return [order for shopper in shoppers for order in shopper.orders]


def has_moved_on(shoppers: list[Shopper], placed: list[str]) -> bool:
    """Whether there are more orders than before, or a failure that ends the wait."""
    return len(orders_of(shoppers)) > len(placed) or any(shopper.failures for shopper in shoppers)


@pytest.mark.slow
def test_a_rolling_deploy_resets_no_connection_and_loses_or_doubles_no_order(
    tmp_path: Path, store: EmbeddedServer
) -> None:
    if not has_balancer():
        if os.environ.get("CI"):
            pytest.fail("haproxy is missing; Debian has it in the package haproxy")
        pytest.skip("haproxy is not installed; Debian has it in the package haproxy")
    keys = tmp_path / "keys.toml"
    shops = {name: RunningShop(tmp_path / name) for name in ("a", "b", "c")}
    ports = {name: shop.port for name, shop in shops.items()}
    serving, empty = ["a", "b"], "c"
    try:
        with balancing(tmp_path, ports, fall=2, check_timeout_s=60) as balancer:
            for name in serving:
                start(shops[name], store, keys)
            eventually(balancer.up, lambda up: {*serving} <= up)
            stock_before = shops["a"].stock(SKU)
            with shopping(balancer.port) as shoppers:
                for _ in range(ROLLS):
                    placed = orders_of(shoppers)
                    roll(serving[0], empty, shops, balancer, store, keys)
                    empty, serving = serving[0], [serving[1], empty]
                    eventually(partial(has_moved_on, shoppers, placed))
            assert [shopper.failures for shopper in shoppers] == [[]] * SHOPPERS
            assert balancer.errors() == {"connections": 0, "responses": 0, "5xx": 0}
            orders = orders_of(shoppers)
            shop = shops[serving[0]]
            for order in orders:
                eventually(partial(shop.order, order), lambda found: found["status"] == "completed")
            assert len({*orders}) == len(orders)
            # A product may be up to a second old.
            eventually(partial(shop.stock, SKU), lambda left: left == stock_before - len(orders))
        assert audit_findings("--store-url", store.url) == ""
    finally:
        for shop in shops.values():
            if shop.is_running:
                shop.kill()
    assert all("Traceback" not in shop.log for shop in shops.values())
