"""Answers of views that say what they could not find out."""

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


async def asked(view: View, degraded: Degraded, *, tag: str | None = None) -> tuple[int, bytes, bytes]:
    async def call(_request: Request, _body: None) -> View:
        return view

    route = Route(method="GET", path="/x", call=call, summary="", tag="x", etag=lambda _view, _body: '"1"')
    request = Request("GET", "/x", "", {} if tag is None else {"If-None-Match": tag}, b"", "id", ())
    response = await resolve(bind(route, degraded.mark)(request))
    return response.status, response.header_block, request.extra_headers


async def test_what_a_view_says_of_itself_is_a_note_of_the_request_and_no_part_of_the_answer_kept() -> None:
    degraded, view = Degraded(), View(("prices", "products"))
    for _ in range(2):
        status, headers, notes = await asked(view, degraded)
        assert (status, headers) == (200, b'ETag: "1"\r\n')
        assert notes == b"Degraded: prices\r\nDegraded: products\r\n"
    assert degraded.counts["prices"] == 2


async def test_an_answer_that_has_not_changed_says_it_too() -> None:
    status, _, notes = await asked(View(("prices",)), Degraded(), tag='"1"')
    assert (status, notes) == (304, b"Degraded: prices\r\n")


async def test_a_whole_answer_says_nothing() -> None:
    assert (await asked(View(), Degraded()))[2] == b""
