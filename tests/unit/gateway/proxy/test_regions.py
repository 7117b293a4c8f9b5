"""What a request and its response become on the way to the gateway of another Region."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from multidict import CIMultiDict

from gateway.http.message import Request, Response, StreamedResponse, header
from gateway.proxy.regions import Regions


def a_request() -> Request:
    return Request("GET", "/v1/orders/1", "", CIMultiDict(Host="shop.example"), b"", "0123456789abcdef", ("1",))


async def pieces() -> AsyncGenerator[bytes, None]:
    yield b"piece"


async def test_the_request_knows_where_it_was_forwarded_to() -> None:
    def handle(forwarded: Request) -> Response:
        forwarded.upstream_call = ("region-us-east-1", 0.25)
        return Response(200)

    regions, request = Regions(), a_request()
    regions.update({"us-east-1": handle})
    await regions.forward(request, "us-east-1")
    assert request.upstream_call == ("region-us-east-1", 0.25)
    assert "CDN-Loop" not in request.headers


@pytest.mark.parametrize(("media_type", "is_resumable"), [(b"text/event-stream", True), (b"application/json", False)])
async def test_only_a_stream_of_events_may_be_ended_by_a_drain(media_type: bytes, is_resumable: bool) -> None:
    fields = header("Cache-Control", "no-store") + header("Server", "other")
    streamed = StreamedResponse(200, pieces(), header_block=fields, content_type=media_type, length=5)
    regions = Regions()
    regions.update({"us-east-1": lambda _request: streamed})
    response = await regions.forward(a_request(), "us-east-1")
    assert isinstance(response, StreamedResponse)
    assert (response.is_resumable, response.length, response.content_type) == (is_resumable, 5, media_type)
    assert response.header_block == b"Cache-Control: no-store\r\n"
    assert [piece async for piece in response.chunks] == [b"piece"]


async def test_regions_that_left_the_file_get_no_more_requests() -> None:
    regions = Regions()
    regions.update({"us-east-1": lambda _request: Response(200)})
    assert regions.can_forward(a_request(), "us-east-1")
    regions.update({})
    assert not regions.can_forward(a_request(), "us-east-1")
