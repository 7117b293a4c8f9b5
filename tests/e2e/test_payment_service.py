"""A served shop that is paid through a payment service over sockets, and hears of its payments by webhooks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.upstreams.payment_stand_in import Fault, PaymentStandIn, Webhook
from primitives.webhook_signature import WebhookSigner, new_secret
from tests.e2e.running_shop import CATALOGUE, RunningShop, eventually

SKU = "85123A"


@contextmanager
def serving(stand_in: PaymentStandIn) -> Iterator[int]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                reply = stand_in.handle(self.command, self.path, headers, body)
            assert reply is not None
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(reply.body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST  # noqa: N815 - of the base class

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("adapter", ["http", "stripe"])
def test_an_order_is_paid_once_and_its_webhooks_are_applied_once(adapter: str, tmp_path: Path) -> None:
    secret = new_secret()
    (tmp_path / "webhook").write_text(secret)
    (tmp_path / "key").write_text("rk_test_1" if adapter == "stripe" else secret)
    webhooks: list[Webhook] = []
    stand_in = PaymentStandIn(
        signer=None if adapter == "stripe" else WebhookSigner(secret), webhook_secret=secret, on_webhook=webhooks.append
    )
    faults = iter([] if adapter == "stripe" else [Fault.FAILS_LATE, Fault.FAILS])
    stand_in.fault = lambda _operation: next(faults, Fault.NONE)
    shop = RunningShop(tmp_path / "data")
    with serving(stand_in) as port:
        shop.start(
            "--catalog", str(CATALOGUE), "--payment", adapter, "--payment-url", f"http://127.0.0.1:{port}",
            "--payment-key-file", str(tmp_path / "key"), "--payment-webhook-secret-file", str(tmp_path / "webhook"),
        )  # fmt: skip
        try:
            order_id = str(shop.check_out(shop.cart_of(**{f"_{SKU}": 1})).body["id"])
            eventually(lambda: shop.order(order_id)["status"] == "completed")
            total = shop.order(order_id)["total"]["amount"]
            assert [(entry.kind, entry.amount) for entry in stand_in.ledger] == [
                ("authorised", total),
                ("captured", total),
            ]

            (account,) = stand_in.accounts.values()
            stand_in._refund(account, "by hand", 100)
            for webhook in webhooks * 2:
                event = json.loads(webhook.body)
                sent = Webhook(webhook.id, json.dumps(event).encode())  # the bytes of `call`
                headers = stand_in.signed(sent, as_stripe=adapter == "stripe")
                assert shop.call("POST", "/v1/webhooks/payment", event, **headers).status == 204
                assert shop.call("POST", "/v1/webhooks/payment", {}, **headers).status == 401
            eventually(lambda: len(shop.order(order_id)["history"]) == 6)
            assert shop.order(order_id)["history"][-1]["detail"] == "refunded at the payment service"
        finally:
            shop.kill()
