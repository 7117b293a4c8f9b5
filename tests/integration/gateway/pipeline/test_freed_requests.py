"""Requests are freed when they are done. A circle of references would leave them to the garbage collector, which frees those
of seconds at once and stalls every other request meanwhile."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from gateway.http.message import Request
from store import Client
from tests.integration.gateway.proxy.raw_upstream import OK, always
from tests.integration.gateway.whole_gateway import whole_gateway

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
STORED = b"Cache-Control: max-age=60\r\n"


def response(length: int, fields: bytes = b"") -> bytes:
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (HEAD, fields, length, b"x" * length)


# What the upstream sends, the options of the route, and a path for the request of each number.
CASES: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "forwarded": (OK, {}, "/s/x"),
    "forwarded with early hints": (b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + OK, {}, "/s/x"),
    "streamed": (response(200_000), {}, "/s/x"),
    "compressed": (response(3_000), {"compress": True}, "/s/x"),
    "a hit": (response(2, STORED), {"cache": True}, "/s/x"),
    "a miss": (response(2, STORED), {"cache": True}, "/s/x?{}"),
    "a miss that is streamed": (response(200_000, STORED), {"cache": True}, "/s/x?{}"),
    "a response that is not stored": (response(2, b"Cache-Control: no-store\r\n"), {"cache": True}, "/s/x"),
    "a call of the API": (OK, {}, "/v1/carts/none"),
    "no route": (OK, {}, "/none/x"),
}


def living_requests() -> int:
    """Other tests of this process may have left some."""
    return sum(isinstance(each, Request) for each in gc.get_objects())


@pytest.mark.parametrize("accept", ["*/*", "text/html"])
@pytest.mark.parametrize(("script", "route", "path"), CASES.values(), ids=CASES.keys())
async def test_a_request_is_freed_without_the_garbage_collector(
    store: Client, store_url: str, tmp_path: Path, script: bytes, route: dict[str, Any], path: str, accept: str
) -> None:
    async with whole_gateway(store_url, tmp_path, always(script), route=route) as gateway:
        await gateway.get(path.format("first"), f"Accept: {accept}")
        gc.collect()
        gc.disable()
        try:
            before = living_requests()
            for number in range(20):
                await gateway.get(path.format(number), f"Accept: {accept}")
            after = living_requests()
        finally:
            gc.enable()
        # The last one may still be in its connection.
        assert after - before <= 1
