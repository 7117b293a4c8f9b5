"""A shopper's stream of order events over the death of the worker that serves it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
from pathlib import Path

import redis

from store.embedded import store_url
from tests.e2e.running_shop import PATIENCE_S, RunningShop, eventually, is_alive

SKU = "85123A"
STATUSES = ["accepted", "stock_confirmed", "payment_authorised", "shipping_arranged", "completed"]


class Stream:
    """One connection that follows an order."""

    def __init__(self, port: int, order_id: str, *, after: int, until: str = "completed") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self._connection.connect()
        opened = self._connection.sock
        assert isinstance(opened, socket.socket)
        self.local_port = opened.getsockname()[1]
        path = f"/v1/orders/{order_id}/events?until={until}"
        self._connection.request("GET", path, headers={"Last-Event-ID": str(after)})
        self._response = self._connection.getresponse()
        assert self._response.status == 200

    def next(self) -> tuple[int, str] | None:
        """The number and status of the next event; None at the end, or when the connection is lost."""
        number = 0
        try:
            while line := self._response.readline():
                if line.startswith(b"id: "):
                    number = int(line[4:])
                elif line.startswith(b"data: "):
                    return number, json.loads(line[6:])["status"]
        except (ConnectionError, http.client.HTTPException):
            pass
        return None

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def worker_of(shop: RunningShop, stream: Stream) -> int:
    """The worker that has the other end of the stream's connection."""
    ends = f":{shop.port:04X} ", f":{stream.local_port:04X} "
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *rest = line.split()
        if (f"{local} ".endswith(ends[0])) and (f"{remote} ".endswith(ends[1])):
            inode = rest[6]
            break
    else:
        raise AssertionError("the connection is not there")
    for pid in shop.worker_pids():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return pid
            except OSError:
                continue
    raise AssertionError("no worker has the connection")


def test_a_stream_resumes_on_another_worker_without_a_gap_or_a_repeat(shop: RunningShop) -> None:
    order_id = shop.check_out(shop.cart_of(**{f"_{SKU}": 1}), token="tok_slow").body["id"]
    seen: list[tuple[int, str]] = []
    servers: list[int] = []
    while not seen or seen[-1][1] != "completed":
        stream = Stream(shop.port, order_id, after=len(seen))
        servers.append(worker_of(shop, stream))
        while event := stream.next():
            seen.append(event)
            if len(servers) == 1 and is_alive(servers[0]):
                # Events follow while nobody listens: the order's steps run in the other worker, or again.
                os.kill(servers[0], signal.SIGKILL)
                eventually(lambda: is_alive(servers[0]), lambda alive: not alive)
        stream.close()
    assert seen == list(enumerate(STATUSES, start=1))
    assert len(servers) >= 2
    assert servers[1] != servers[0]


def test_an_order_is_followed_to_the_doorstep_over_the_death_of_a_worker(shop: RunningShop) -> None:
    order_id = shop.check_out(shop.cart_of(**{f"_{SKU}": 1})).body["id"]
    first = Stream(shop.port, order_id, after=0, until="delivered")
    seen = [first.next() for _ in STATUSES]
    assert seen == list(enumerate(STATUSES, start=1))
    server = worker_of(shop, first)
    os.kill(server, signal.SIGKILL)
    assert first.next() is None, "a stream that goes on is open until its worker ends"
    first.close()

    # Nobody listens while the parcel is handed to the carrier.
    mark(shop, order_id, "shipped")
    second = Stream(shop.port, order_id, after=5, until="delivered")
    assert second.next() == (6, "shipped")
    mark(shop, order_id, "delivered")
    assert second.next() == (7, "delivered")
    assert second.next() is None
    second.close()


def mark(shop: RunningShop, order_id: str, status: str) -> None:
    """Report what became of the shipment, and wait until a worker has applied it."""
    assert shop.admin("POST", f"/admin/v1/orders/{order_id}/mark", {"status": status}).status == 202
    eventually(lambda: shop.order(order_id)["status"] == status)


def test_any_number_of_streams_have_one_subscription_in_each_worker(shop: RunningShop) -> None:
    orders = [
        shop.check_out(shop.cart_of(**{f"_{SKU}": 1}), key=str(number), token="tok_timeout").body["id"]
        for number in range(4)
    ]
    streams = [Stream(shop.port, order_id, after=0) for order_id in orders * 5]
    try:
        assert all(stream.next() for stream in streams)
        client = redis.Redis(unix_socket_path=re.sub(r"^unix://", "", store_url(shop.data_dir)))
        subscribers = [each for each in client.client_list() if int(each["ssub"])]
        assert 1 <= len(subscribers) <= 2
        assert len(shop.worker_pids()) == 2
        assert sum(int(each["ssub"]) for each in subscribers) <= 2 * len(orders)
        client.close()
    finally:
        for stream in streams:
            stream.close()
