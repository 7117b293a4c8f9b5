"""A queue that is away while shoppers check out: orders are accepted and kept, and the queue gets each of them afterwards."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from tests.e2e.running_shop import CATALOGUE, PATIENCE_S, Response, RunningShop, eventually

SKU = "85123A"
SHOPPERS = 8
# While the queue is there, while it is away, and afterwards.
BEFORE, AWAY, AFTER = 8, 40, 8


class Front:
    """Stands before an SQS server, and hangs or refuses while `how` says so."""

    def __init__(self, server: str) -> None:
        self.how: str | None = None
        self.is_back = threading.Event()
        self._server = server

    def forward(self, headers: dict[str, str], path: str, body: bytes) -> tuple[int, bytes]:
        if self.how == "hangs":
            # What it took before it hung is lost with it.
            self.is_back.wait(PATIENCE_S)
            return 503, b"{}"
        if self.how == "refuses":
            return 503, b"{}"
        names = ("Content-Type", "X-Amz-Target", "Authorization", "X-Amz-Date")
        kept = {name: headers[name] for name in names if name in headers}
        request = urllib.request.Request(self._server + path, body, kept, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


@contextmanager
def serving(front: Front) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, content = front.forward(
                {name.title(): value for name, value in self.headers.items()}, self.path, body
            )
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                self.close_connection = True  # the client has given up

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        front.is_back.set()
        server.shutdown()
        server.server_close()


def checked_out(shop: RunningShop, keys: range) -> list[Response]:
    """The responses to shoppers who check out at the same time."""

    def check_out(number: int) -> Response:
        return shop.check_out(shop.cart_of(**{f"_{SKU}": 1}), key=f"shopper-{number}")

    with ThreadPoolExecutor(SHOPPERS) as shoppers:
        return list(shoppers.map(check_out, keys))


def orders_in(sqs: Any, queue_url: str, found: set[str]) -> set[str]:
    """`found`, with the orders of the messages that the queue has; they are deleted."""
    while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", []):
        for each in messages:
            found.add(json.loads(each["Body"])["subject"])
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=each["ReceiptHandle"])
    return found


@pytest.mark.parametrize("how", ["hangs", "refuses"])
def test_orders_are_accepted_while_the_queue_is_away_and_each_is_delivered_afterwards(
    how: str, tmp_path: Path, sqs_endpoint: str
) -> None:
    sqs = boto3.client("sqs", region_name="eu-west-1", endpoint_url=sqs_endpoint)
    queue_url = sqs.create_queue(QueueName=f"orders-{how}")["QueueUrl"]
    front, shop = Front(sqs_endpoint), RunningShop(tmp_path / "data")
    with serving(front) as address:
        queue = ("--queue-url", address + urlsplit(queue_url).path, "--aws-endpoint-url", address)
        options = ("--workers", "2", "--role", "edge", "--aws-region", "eu-west-1", "--catalog", str(CATALOGUE))
        shop.start(*options, *queue)
        try:
            responses = checked_out(shop, range(BEFORE))
            front.how = how
            responses += checked_out(shop, range(BEFORE, BEFORE + AWAY))
            # Not before: the client of the queue repeats a call itself for a moment.
            eventually(lambda: "sending orders to the queue failed" in shop.log)
            front.how = None
            front.is_back.set()
            responses += checked_out(shop, range(BEFORE + AWAY, BEFORE + AWAY + AFTER))
            assert [each.status for each in responses] == [202] * (BEFORE + AWAY + AFTER)
            accepted = {str(each.body["id"]) for each in responses}
            found: set[str] = set()
            eventually(lambda: orders_in(sqs, queue_url, found), lambda orders: len(orders) >= len(accepted))
            assert found == accepted
            assert {shop.order(each)["status"] for each in accepted} == {"accepted"}
        finally:
            shop.stop()
    assert "Traceback" not in shop.log, shop.log


def test_where_the_queue_must_have_an_order_it_is_accepted_once_it_has(tmp_path: Path, sqs_endpoint: str) -> None:
    sqs = boto3.client("sqs", region_name="eu-west-1", endpoint_url=sqs_endpoint)
    queue_url = sqs.create_queue(QueueName="orders-awaited")["QueueUrl"]
    front, shop = Front(sqs_endpoint), RunningShop(tmp_path / "data")
    with serving(front) as address:
        queue = ("--queue-url", address + urlsplit(queue_url).path, "--aws-endpoint-url", address)
        options = ("--workers", "1", "--role", "edge", "--aws-region", "eu-west-1", "--catalog", str(CATALOGUE))
        shop.start(*options, *queue, "--durability", "queue")
        try:
            accepted = shop.check_out(shop.cart_of(**{f"_{SKU}": 1}))
            assert accepted.status == 202
            # Without waiting for it.
            assert orders_in(sqs, queue_url, set()) == {accepted.body["id"]}
            front.how = "refuses"
            cart_id = shop.cart_of(**{f"_{SKU}": 1})
            refused = shop.check_out(cart_id)
            assert (refused.status, refused.body["may_have_run"]) == (503, True)
            front.how = None
            retried = eventually(lambda: shop.check_out(cart_id), lambda response: response.status != 503)
            assert (retried.status, retried.headers["Idempotent-Replayed"]) == (202, "true")
            assert orders_in(sqs, queue_url, set()) == {retried.body["id"]}
        finally:
            shop.stop()
