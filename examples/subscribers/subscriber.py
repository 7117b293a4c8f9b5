"""A receiver of Peakgate's webhooks: verifies the signature, handles each event once, and reads the order that it is about.

    pip install standardwebhooks

The examples beside this file are programs of a few lines on top of it. docs/webhooks.md says what a receiver must do.
"""

from __future__ import annotations

import argparse
import json
import logging
import sqlite3
import threading
import urllib.request
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

Event = Mapping[str, Any]
Order = Mapping[str, Any]
# Takes the event, its id and the order.
Handle = Callable[[Event, str, Order], None]

MAX_BODY_BYTES = 1024 * 1024
_log = logging.getLogger("subscriber")


class Orders:
    """Reads orders by the admin API: events hold no personal data, so a program that needs some is an operator's."""

    def __init__(self, admin_url: str, token: str) -> None:
        self._admin_url = admin_url.rstrip("/")
        self._token = token

    def read(self, order_id: str) -> Order:
        """The order with its e-mail address."""
        request = urllib.request.Request(  # noqa: S310 - the operator gives the address
            f"{self._admin_url}/admin/v1/orders/{order_id}?personal=yes",
            headers={"Authorization": f"Bearer {self._token}"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            orders: list[Order] = json.load(response)["orders"]
        return orders[0]


class Subscriber:
    """Handles the events of some types, each once: their ids are remembered in a file of SQLite.

    An id is stored when the event is handled. If the program dies between the two, the event comes again: so `handle` does
    something that may be done twice, such as writing a file whose name is the id.
    """

    def __init__(
        self, secrets: list[str], types: frozenset[str], handle: Handle, orders: Orders, seen: str = ":memory:"
    ) -> None:
        self._webhooks = [Webhook(secret) for secret in secrets]
        self._types = types
        self._handle = handle
        self._orders = orders
        self._lock = threading.Lock()
        self._seen = sqlite3.connect(seen, check_same_thread=False)
        self._seen.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY)")

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """The HTTP status of the answer. Any 2xx takes the event; with all others it comes again."""
        event = self._verified(headers, body)
        if event is None:
            return 401
        if event["type"] not in self._types:
            return 204
        webhook_id = headers["webhook-id"]
        try:
            # One at a time: a repeat that arrives beside the first waits for it.
            with self._lock, self._seen:
                new = self._seen.execute("INSERT OR IGNORE INTO seen VALUES (?)", (webhook_id,)).rowcount
                if new:
                    self._handle(event, webhook_id, self._orders.read(event["data"]["order_id"]))
        except Exception:  # noqa: BLE001 - whatever it is, the event comes again
            # The id is rolled back with the transaction.
            _log.exception("the event %s was not handled; it comes again", event["type"])
            return 500
        return 204

    def _verified(self, headers: Mapping[str, str], body: bytes) -> Event | None:
        """The event, None if none of the secrets has signed it lately."""
        for webhook in self._webhooks:
            try:
                event: Event = webhook.verify(body, dict(headers))
            except (WebhookVerificationError, ValueError):
                continue
            return event
        return None


def serve(subscriber: Subscriber, address: tuple[str, int]) -> ThreadingHTTPServer:
    """A server that hands what is posted to it to the subscriber; call `serve_forever` on it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            if length > MAX_BODY_BYTES:
                self._answer(413)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._answer(subscriber.receive(headers, self.rfile.read(length)))

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return ThreadingHTTPServer(address, Handler)


def run(description: str, types: frozenset[str], handler: Callable[[argparse.Namespace], Handle]) -> None:
    """Read the command line, and receive until interrupted. `handler` makes the function from the arguments."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument(
        "--secret-file", type=Path, required=True, help="the file of secrets that the gateway signs with"
    )
    parser.add_argument("--admin-url", default="http://127.0.0.1:9090")
    parser.add_argument("--admin-token-file", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the files that are written")
    parser.add_argument("--smtp", metavar="HOST:PORT", help="a mail server; without it, mails are files")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    subscriber = Subscriber(
        args.secret_file.read_text().split(),
        types,
        handler(args),
        Orders(args.admin_url, args.admin_token_file.read_text().strip()),
        seen=str(args.out / "seen.sqlite"),
    )
    serve(subscriber, ("127.0.0.1", args.port)).serve_forever()
