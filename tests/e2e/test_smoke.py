"""`deploy/smoke` accepts a live gateway, and says what is wrong with a broken one."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.harness.ports import free_port
from tests.e2e.running_shop import PATIENCE_S, RunningShop, eventually
from tests.e2e.surroundings import open_shop

SMOKE = Path(__file__).parents[2] / "deploy/smoke"
SKU = "85123A"


class Reply:
    """A response that a fault may change before it is sent."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


Fault = Callable[[str, Reply], None]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    with open_shop(tmp_path_factory.mktemp("smoke"), "", workers=1) as shop:
        yield shop


def smoke(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    # An order of a busy machine may take longer than one of a shop that is to be proven.
    words = [sys.executable, str(SMOKE), url, "--order-within", str(PATIENCE_S), *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)


@contextmanager
def broken(shop: RunningShop, fault: Fault) -> Iterator[str]:
    """The address of a proxy that changes the responses of the shop."""

    class Proxy(BaseHTTPRequestHandler):
        def _forward(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length) if length else b""
            named = {name: value for name, value in self.headers.items() if name not in {"Host", "Content-Length"}}
            reply = _sent(shop, self.command, self.path, body, named)
            fault(f"{self.command} {self.path}", reply)
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                if name != "Content-Length":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if reply.status != 304:
                self.wfile.write(reply.body)

        do_GET = do_POST = _forward  # noqa: N815 - names of http.server

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _sent(shop: RunningShop, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=PATIENCE_S)
    connection.request(method, path, body or None, headers)
    response = connection.getresponse()
    reply = Reply(response.status, dict(response.getheaders()), response.read())
    connection.close()
    return reply


def test_a_live_gateway_passes_and_its_order_is_completed(shop: RunningShop, tmp_path: Path) -> None:
    stock = shop.stock(SKU)
    done = smoke(shop.url, "--sku", SKU, "--figures", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stderr
    lines = [line.split(" (")[0] for line in done.stdout.splitlines()]
    assert lines[0] == "ok      health"
    assert lines[-1] == "ok      completed order"
    # A product may be up to a second old.
    eventually(partial(shop.stock, SKU), lambda left: left == stock - 1)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["took_ms"]) == len(lines)


def test_without_an_order_nothing_is_sold(shop: RunningShop) -> None:
    done = smoke(shop.url, "--sku", SKU, "--no-order")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("ok      refusals")


def not_ready(call: str, reply: Reply) -> None:
    if "/readyz" in call:
        reply.status, reply.body = 503, b'{"status":"draining"}'


def cart_for_every_cache(call: str, reply: Reply) -> None:
    if call.startswith("GET /v1/carts"):
        reply.headers["Cache-Control"] = "public, max-age=60"


def without_security_field(call: str, reply: Reply) -> None:
    reply.headers.pop("X-Content-Type-Options", None)


def refusal_as_page(call: str, reply: Reply) -> None:
    if reply.status == 404:
        reply.headers["Content-Type"] = "text/html"


def repeat_is_another_order(call: str, reply: Reply) -> None:
    if reply.headers.pop("Idempotent-Replayed", None):
        reply.body = json.dumps({**json.loads(reply.body), "id": "another"}).encode()


def checkout_away(call: str, reply: Reply) -> None:
    if call == "POST /v1/checkout" and reply.status == 202:
        reply.status, reply.body = 503, b'{"title":"Overloaded"}'


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (not_ready, "readiness: status 503 instead of 200"),
        (without_security_field, "catalogue: x-content-type-options is None"),
        (cart_for_every_cache, "cart: a cart that a shared cache may store"),
        (refusal_as_page, "refusals: a refusal of type text/html"),
        (checkout_away, "checkout: status 503 instead of 202. Overloaded"),
        (repeat_is_another_order, "idempotent repeat: a repeat with the same key made another order"),
    ],
)
def test_a_broken_gateway_fails_with_the_reason(shop: RunningShop, fault: Fault, reason: str) -> None:
    with broken(shop, fault) as url:
        done = smoke(url, "--sku", SKU)
    assert done.returncode == 1
    assert reason in done.stderr


def test_an_order_that_is_declined_fails_with_its_end(shop: RunningShop) -> None:
    done = smoke(shop.url, "--sku", SKU, "--payment-token", "tok_declined")
    assert done.returncode == 1
    assert "is cancelled after" in done.stderr


def test_an_address_without_a_server_fails_and_one_that_is_none_is_a_wrong_call() -> None:
    assert "health: GET /healthz: no response" in smoke(f"http://127.0.0.1:{free_port()}").stderr
    assert smoke("shop.example").returncode == 2
