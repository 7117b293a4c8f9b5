"""Webhooks of a served shop: signed, in order, over the death of all processes, and again at an operator's wish."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from primitives.webhook_signature import new_secret
from tests.e2e.running_shop import CATALOGUE, UNSHED, RunningShop, eventually, peakgate

SKU = "85123A"
STATUSES = ["accepted", "stock_confirmed", "payment_authorised", "shipping_arranged", "completed"]


class Receiver:
    """A receiver that verifies with the official library, and answers with `status`."""

    def __init__(self, secret: str) -> None:
        self.status = 204
        self.received: list[tuple[str, dict[str, Any]]] = []
        self._webhook = Webhook(secret)

    def accept(self, headers: dict[str, str], body: bytes) -> int:
        event = self._webhook.verify(body, headers)
        if self.status < 300:
            self.received.append((headers["webhook-id"], event))
        return self.status

    def types_of(self, order_id: str) -> list[str]:
        return [event["type"] for _, event in self.received if event["subject"] == order_id]


@contextmanager
def serving(receiver: Receiver) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(receiver.accept(headers, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[Receiver, Path]]:
    """A receiver, and the policies that name it."""
    secret = new_secret()
    (tmp_path / "secret").write_text(f"{secret}\n")
    each = Receiver(secret)
    with serving(each) as port:
        config = tmp_path / "peakgate.toml"
        config.write_text(
            f'{UNSHED}\n[[webhooks]]\nname = "crm"\nurl = "http://127.0.0.1:{port}/hook"\n'
            f'secret_file = "{tmp_path / "secret"}"\nallow_private = true\n'
        )
        yield each, config


def order(shop: RunningShop) -> str:
    accepted = shop.check_out(shop.cart_of(**{f"_{SKU}": 1}))
    assert accepted.status == 202
    return str(accepted.body["id"])


def outcomes_of(shop: RunningShop, webhook_id: str) -> list[str]:
    """What the delivery log has of the webhooks whose id begins so."""
    log = shop.admin("GET", "/admin/v1/webhooks/crm/deliveries").body["deliveries"]
    return [line["outcome"] for line in log if line["webhook_id"].startswith(webhook_id)]


def test_webhooks_are_signed_in_order_and_survive_the_death_of_every_process(
    receiver: tuple[Receiver, Path], tmp_path: Path
) -> None:
    crm, config = receiver
    options = ("--workers", "2", "--config", str(config))
    shop = RunningShop(tmp_path / "data")
    shop.start(*options, "--catalog", str(CATALOGUE))
    try:
        first = order(shop)
        expected = [f"shop.order.{status}.v1" for status in STATUSES]
        eventually(lambda: crm.types_of(first), lambda types: len(types) == 5)
        assert crm.types_of(first) == expected

        crm.status = 500
        second = order(shop)
        # The kill would lose a line that is not written yet, though the receiver has refused.
        eventually(lambda: "failed" in outcomes_of(shop, second))
        eventually(lambda: shop.order(second)["status"] == "completed")
        shop.kill()
        crm.status = 204
        shop.start(*options)
        eventually(lambda: crm.types_of(second), lambda types: len(types) == 5)
        assert crm.types_of(second) == expected

        check_commands(shop, crm, config, second)
        check_reload(shop, crm, config)
    finally:
        shop.stop()
    assert "Traceback" not in shop.log, shop.log
    assert first not in shop.log


def check_commands(shop: RunningShop, crm: Receiver, config: Path, order_id: str) -> None:
    """The delivery log and redelivery, by the admin API and the command line."""
    # A line is written after the receiver's answer, so the receiver knows of a delivery before the log does.
    eventually(lambda: outcomes_of(shop, f"{order_id}-5"), lambda found: "delivered" in found)
    assert set(outcomes_of(shop, order_id)) == {"delivered", "failed"}
    answer = shop.admin("POST", "/admin/v1/webhooks/crm/redeliver", {"webhook_id": f"{order_id}-5"})
    assert (answer.status, answer.body) == (202, {"redelivered": 1})
    eventually(lambda: [key for key, _ in crm.received].count(f"{order_id}-5") == 2)
    again = [event for key, event in crm.received if key == f"{order_id}-5"]
    assert again[0] == again[1]

    words = ("--config", str(config), "--data-dir", str(shop.data_dir))
    listed = json.loads(peakgate("webhooks", "list", "--json", *words).stdout)
    assert [(each["name"], each["state"]) for each in listed["endpoints"]] == [("crm", "open")]
    lines = json.loads(peakgate("webhooks", "deliveries", "crm", "--json", *words).stdout)["deliveries"]
    assert lines[0]["webhook_id"] == f"{order_id}-5"
    many = peakgate("webhooks", "redeliver", "crm", "--since", "2020-01-01T00:00:00Z", "--all", *words)
    assert many.stdout == "10 webhooks are delivered again\n", many.stderr
    eventually(lambda: len(crm.types_of(order_id)) >= 11)
    for bad in (("--since", "2020-01-01T00:00:00Z"), ("nonsense",)):
        refused = peakgate("webhooks", "redeliver", "other" if len(bad) > 1 else "crm", *bad, *words)
        assert refused.returncode == 1
    assert peakgate("webhooks", "redeliver", "crm", *words).returncode == 64
    for path, status in (
        ("/admin/v1/webhooks/other/deliveries", 422),
        ("/admin/v1/webhooks/crm/deliveries?limit=0", 422),
        ("/admin/v1/webhooks/crm/deliveries?since=now", 422),
    ):
        assert shop.admin("GET", path).status == status


def check_reload(shop: RunningShop, crm: Receiver, config: Path) -> None:
    """Disabled by an operator, enabled, then removed from the configuration while serving."""
    assert shop.admin("POST", "/admin/v1/webhooks/crm/disable").status == 200
    endpoints = shop.admin("GET", "/admin/v1/webhooks").body["endpoints"]
    assert [each["state"] for each in endpoints] == ["stopped"]
    skipped = order(shop)
    eventually(lambda: outcomes_of(shop, skipped), lambda found: found == ["skipped"] * 5)
    assert crm.types_of(skipped) == []
    assert shop.admin("POST", "/admin/v1/webhooks/crm/enable").status == 202
    redelivered = shop.admin("POST", "/admin/v1/webhooks/crm/redeliver", {"since": "2020-01-01T00:00:00Z"})
    assert redelivered.body["redelivered"] >= 5
    eventually(lambda: len(crm.types_of(skipped)) == 5)

    config.write_text(UNSHED)
    assert shop.admin("POST", "/admin/v1/reload").status == 200
    assert shop.admin("GET", "/admin/v1/webhooks").body["endpoints"] == []
    quiet = order(shop)
    eventually(lambda: shop.order(quiet)["status"] == "completed")
    assert crm.types_of(quiet) == []
