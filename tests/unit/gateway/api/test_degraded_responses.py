"""The `Degraded` header of views with unconfirmed parts."""

from __future__ import annotations

import msgspec

from gateway.api.binding import Route, bind
from gateway.http.message import Request, resolve
from gateway.pipeline.degraded import Degraded


class View(msgspec.Struct):
    degraded: tuple[str, ...] = ()
    encoded: object = None

    def to_json(self) -> bytes:
        return b"{}"


async def get(view: View, degraded: Degraded, *, tag: str | None = None) -> tuple[int, bytes, bytes]:
    async def call(_request: Request, _body: None) -> View:
        return view

    route = Route(method="GET", path="/x", call=call, summary="", tag="x", etag=lambda _view, _body: '"1"')
    request = Request("GET", "/x", "", {} if tag is None else {"If-None-Match": tag}, b"", "id", ())
    response = await resolve(bind(route, degraded.mark)(request))
    return response.status, response.header_block, request.extra_headers


async def test_degraded_parts_are_extra_headers_and_not_in_the_cached_response() -> None:
    degraded, view = Degraded(), View(("prices", "products"))
    for _ in range(2):
        status, headers, extra_headers = await get(view, degraded)
        assert (status, headers) == (200, b'ETag: "1"\r\n')
        assert extra_headers == b"Degraded: prices\r\nDegraded: products\r\n"
    assert degraded.counts["prices"] == 2


async def test_a_304_response_has_the_header_too() -> None:
    status, _, extra_headers = await get(View(("prices",)), Degraded(), tag='"1"')
    assert (status, extra_headers) == (304, b"Degraded: prices\r\n")


async def test_a_view_without_degraded_parts_has_no_header() -> None:
    assert (await get(View(), Degraded()))[2] == b""
