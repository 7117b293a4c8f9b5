"""Personal data in a running shop: nowhere in plain text, not even in what it logs and reports, and nowhere once erased."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
from aiohttp import web

from checkout.privacy.key_file import read_key_file
from primitives.webhook_signature import new_secret
from tests.e2e.running_shop import (
    CATALOGUE,
    PATIENCE_S,
    UNSHED,
    Response,
    RunningShop,
    command,
    environment,
    eventually,
)
from tests.e2e.surroundings import Neighbour
from tests.e2e.test_edge_clients import Signing
from tests.issuer import AUDIENCE, ISSUER

SKU = "85123A"
# One name that stands in every field that a shopper fills in.
CANARY = "Zyxwonky"
OWNER = f"auth0|{CANARY}"
EMAIL = f"{CANARY.lower()}@example.com"
ADDRESS = {
    "name": f"Ada {CANARY}",
    "line1": f"1 {CANARY} Row",
    "line2": f"{CANARY} House",
    "city": f"{CANARY}ton",
    "postcode": f"{CANARY}9",
    "country": "GB",
}
POLICIES = f"""
[shoppers]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
jwks_url = "ISSUER_URL/jwks.json"

[[webhooks]]
name = "back-office"
url = "RECEIVER_URL/events"
secret_file = "SECRET_FILE"
allow_private = true
"""


REPORTS = (
    "/metrics",
    "/admin/v1/status",
    "/admin/v1/orders?state=completed",
    "/admin/v1/orders?state=cancelled",
    "/admin/v1/orders/attention",
    "/admin/v1/dead-letters",
    "/admin/v1/webhooks",
    "/admin/v1/webhooks/back-office/deliveries",
)


class Receiver:
    """An endpoint of webhooks. It fails at first, so that attempts are logged and repeated."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.server = Neighbour(self._build)

    def _build(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/events", self._take)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        self.received.append(await request.read() + repr(request.headers).encode())
        return web.Response(status=500 if len(self.received) <= 2 else 204, text=f"sorry, {CANARY}")


class Buyer:
    """A signed-in shopper who leaves their name everywhere."""

    def __init__(self, shop: RunningShop, signing: Signing) -> None:
        self._shop = shop
        self._headers = {
            "Authorization": signing.token(OWNER),
            "User-Agent": f"{CANARY} browser",
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        }
        self._keys = itertools.count()

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Response:
        return self._shop.call(method, path, body, **self._headers, **headers)

    def buy(self, token: str = "tok_ok") -> str:
        """The id of a new order."""
        cart_id = self.call("POST", "/v1/carts").body["id"]
        assert self.call("POST", f"/v1/carts/{cart_id}/lines", {"sku": SKU, "quantity": 1}).status == 200
        body = {"cart_id": cart_id, "email": EMAIL, "shipping_address": ADDRESS, "payment": {"token": token}}
        key = f"{CANARY}-{next(self._keys)}"
        placed = self.call("POST", "/v1/checkout", body, Idempotency_Key=key)
        assert placed.status == 202, placed
        return str(placed.body["id"])

    def order(self, order_id: str) -> Any:
        return self.call("GET", f"/v1/orders/{order_id}").body

    def await_end(self, order_id: str) -> None:
        eventually(lambda: self.order(order_id)["status"], lambda status: status in {"completed", "cancelled"})


def admin(shop: RunningShop, path: str, body: object = None) -> tuple[int, str]:
    token = (shop.data_dir / "admin-token").read_text().strip()
    request = urllib.request.Request(
        shop.admin_url + path,
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        return response.status, response.read().decode()


def found_in(text: bytes) -> list[str]:
    return re.findall(rf"(?i).{{0,60}}{CANARY}.{{0,20}}", text.decode(errors="replace"))


def files_with_canary(shop: RunningShop) -> Mapping[str, list[str]]:
    """Every file of the data directory, which are the store's, the queue's and the archive's, and the log."""
    files = [path for path in shop.data_dir.rglob("*") if path.is_file()]
    files.append(shop.data_dir.with_suffix(".log"))
    return {path.name: found for path in files if (found := found_in(_content(path)))}


def _content(path: Path) -> bytes:
    """What is in the file; nothing if the running shop has deleted it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _as_bytes(key: bytes | str) -> bytes:
    assert isinstance(key, bytes)
    return key


def dump(store: redis.Redis) -> bytes:
    """Every key and value of the store."""
    readers: Mapping[bytes, Callable[[bytes], object]] = {
        b"string": store.get,
        b"hash": store.hgetall,
        b"set": store.smembers,
        b"zset": lambda key: store.zrange(key, 0, -1, withscores=True),
        b"stream": lambda key: (store.xrange(key), store.xinfo_groups(key)),
        b"list": lambda key: store.lrange(key, 0, -1),
    }
    kinds = {key: _as_bytes(store.type(key)) for key in map(_as_bytes, store.keys("*"))}
    # One may expire after it is listed.
    lines = [f"{key!r} {readers[kind](key)!r}" for key, kind in kinds.items() if kind != b"none"]
    assert len(lines) > 10
    return "\n".join(lines).encode()


@pytest.fixture(scope="module")
def signing() -> Iterator[Signing]:
    signing = Signing()
    with signing.server:
        yield signing


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with receiver.server:
        yield receiver


@pytest.fixture
def shop(tmp_path: Path, signing: Signing, receiver: Receiver) -> Iterator[RunningShop]:
    shop = RunningShop(tmp_path / "data")
    config, secret = tmp_path / "peakgate.toml", tmp_path / "secret"
    secret.write_text(new_secret())
    policies = POLICIES.replace("ISSUER_URL", signing.server.url).replace("RECEIVER_URL", receiver.server.url)
    config.write_text(policies.replace("SECRET_FILE", str(secret)) + UNSHED)
    shop.start(
        "--workers", "1", "--catalog", str(CATALOGUE), "--config", str(config), "--log-level", "debug",
        "--order-patience", "1",
    )  # fmt: skip
    yield shop
    if shop.is_running:
        shop.stop()


def privacy(shop: RunningShop, *words: str, stdin: str = "") -> str:
    """The output of a command on the running shop."""
    done = subprocess.run(
        command("privacy", *words, "--data-dir", str(shop.data_dir)),
        env=environment(), input=stdin, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not found_in(done.stderr.encode()), done.stderr
    return done.stdout


def live(shop: RunningShop, signing: Signing) -> tuple[Buyer, list[str]]:
    """A life of a shop: orders that complete, and that fail because the payment is declined, an open cart, a dead letter."""
    buyer = Buyer(shop, signing)
    orders = [buyer.buy(), buyer.buy("tok_declined"), buyer.buy("tok_declined"), buyer.buy()]
    for order_id in orders:
        buyer.await_end(order_id)
    mine = buyer.call("GET", "/v1/carts/mine").body["id"]
    buyer.call("POST", f"/v1/carts/{mine}/lines", {"sku": SKU, "quantity": 1}, Idempotency_Key=f"{CANARY}-line")
    # Wrong in every way, so that refusals are logged.
    buyer.call("POST", "/v1/checkout", {"cart_id": CANARY, "email": CANARY, "shipping_address": ADDRESS})
    buyer.call("POST", "/v1/checkout", {"email": EMAIL})
    assert len(buyer.call("GET", "/v1/orders").body["orders"]) == 4
    with store_of(shop) as store:
        store.xadd("{orders}:queue", {"message": b'{"specversion":"1.0"}'})
    eventually(lambda: json.loads(admin(shop, "/admin/v1/dead-letters")[1])["count"], lambda count: count == 1)
    return buyer, orders


def store_of(shop: RunningShop) -> redis.Redis:
    return redis.Redis(unix_socket_path=f"{shop.data_dir}/valkey.sock")


def test_nothing_personal_is_at_rest_logged_or_reported_and_an_erased_shopper_is_gone(
    shop: RunningShop, signing: Signing, receiver: Receiver
) -> None:
    buyer, orders = live(shop, signing)
    eventually(lambda: len(receiver.received), lambda number: number > 3)
    assert found_in(b"".join(receiver.received)) == []
    for path in (*REPORTS, *(f"/admin/v1/orders/{order_id}" for order_id in orders)):
        assert found_in(admin(shop, path)[1].encode()) == [], path
    with store_of(shop) as store:
        assert found_in(dump(store)) == []
    assert files_with_canary(shop) == {}
    before = {order_id: buyer.order(order_id) for order_id in orders}
    assert found_in(json.dumps(before).encode())

    def erase() -> str:
        return privacy(shop, "erase", "--owner", "-", stdin=f"{OWNER}\n")

    # The last steps of a cancelled order may still run.
    assert erase().startswith("4 orders found")
    eventually(erase, lambda output: ", 0 wait" in output)
    assert "0 orders found" in privacy(shop, "erase", "--email", "-", stdin=EMAIL.upper())
    again = admin(shop, "/admin/v1/privacy/erase", {"owner": OWNER})
    assert again == (200, '{"orders":0,"erased":0,"waiting":0,"carts":0,"elsewhere":0,"sessions":0}\n')
    assert buyer.call("GET", "/v1/orders").body["orders"] == []
    for order_id, order in before.items():
        # Its owner is forgotten too, so its id gives access to what is left.
        left = shop.order(order_id)
        assert not found_in(json.dumps(left).encode())
        money = ("total", "lines", "history", "status", "number")
        assert {name: left[name] for name in money} == {name: order[name] for name in money}
    assert "0 orders wait" in privacy(shop, "status")
    shop.stop()
    assert files_with_canary(shop) == {}


def test_keys_are_rotated_while_orders_are_placed_and_old_ones_are_needed_no_more(
    shop: RunningShop, signing: Signing
) -> None:
    buyer = Buyer(shop, signing)
    first = buyer.buy()
    path = shop.data_dir / "keys.toml"
    content = read_key_file(path)
    assert content is not None
    assert f"file.{content.current}  current" in privacy(shop, "status")
    rotating = subprocess.Popen(
        command("privacy", "rotate", "--data-dir", str(shop.data_dir)),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    orders = [first]
    while rotating.poll() is None and len(orders) < 30:
        orders.append(buyer.buy())
    output, errors = rotating.communicate()
    assert rotating.returncode == 0, errors
    assert "orders are sealed with file." in output
    assert content.current in errors  # it is needed no more
    rotated = read_key_file(path)
    assert rotated is not None
    assert next(iter(rotated.keys)) == content.current
    assert privacy(shop, "status").splitlines()[0] == f"file.{rotated.current}  current"
    shop.stop()
    # Without the old key.
    path.write_text(re.sub(rf"(?m)^{content.current} = .*\n", "", path.read_text()))
    shop.start("--workers", "1", "--config", str(shop.data_dir.parent / "peakgate.toml"))
    assert {buyer.order(order_id)["email"] for order_id in orders} == {EMAIL}
