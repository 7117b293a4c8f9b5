"""Pages are fetched into the cache to their end, also where they are streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import cast

import pytest
from msgspec.structs import replace

from gateway.config.policies import Cache, Policies
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response, StreamedResponse
from gateway.http.router import Router
from gateway.policies.active import ActivePolicies
from gateway.policies.prewarm import Prewarmer
from gateway.server.server import EdgeServer


class Page:
    """A streamed page of so many pieces of 1,000 bytes."""

    def __init__(self, pieces: int, status: int = 200) -> None:
        self._pieces = pieces
        self._status = status
        self.sent = 0
        self.is_closed = False

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            while self.sent < self._pieces:
                self.sent += 1
                yield bytes(1_000)
        finally:
            self.is_closed = True

    def handle(self, _request: Request) -> Response:
        return StreamedResponse(self._status, self._chunks(), content_type=b"text/plain")

    def prewarmer(self) -> Prewarmer:
        policies = replace(Policies(), cache=Cache(max_entry_bytes=10_000))
        server = SimpleNamespace(
            router=Router([Endpoint("GET", "/page", self.handle)]),
            last_address={},
            ids=SimpleNamespace(of=lambda _headers: "0123456789abcdef"),
        )
        active = SimpleNamespace(inner={}, policies=policies)
        return Prewarmer(cast("EdgeServer", server), cast("ActivePolicies", active))


async def test_a_streamed_page_is_received_to_its_end() -> None:
    page = Page(10)
    await page.prewarmer().fetch("/page")
    assert (page.sent, page.is_closed) == (10, True)


async def test_a_page_that_is_too_long_for_the_cache_is_not_received_to_its_end() -> None:
    page = Page(1_000)
    await page.prewarmer().fetch("/page")
    assert (page.sent, page.is_closed) == (11, True)


async def test_a_page_that_is_an_error_is_reported() -> None:
    with pytest.raises(RuntimeError, match="status 404"):
        await Page(1, status=404).prewarmer().fetch("/page")
