"""The bytes of a response, and the ids of requests."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from gateway.http.message import Request, Response, header, unparsed_request
from gateway.server.request_id import RequestIds
from gateway.server.response_writer import CLOSE, ResponseWriter

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Clock:
    def __init__(self) -> None:
        self.now = 784111777.0

    def __call__(self) -> float:
        return self.now


def ids() -> RequestIds:
    return RequestIds(random_bytes=lambda size: b"\xab" * size)


def test_a_response_is_rendered_to_the_last_byte() -> None:
    writer = ResponseWriter(Clock())
    response = Response(200, b'{"a":1}', header_block=header("ETag", '"1"') + header("Cache-Control", "no-store"))
    assert writer.render(response, unparsed_request("id1")) == (
        b"HTTP/1.1 200 OK\r\nServer: peakgate\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Request-Id: id1\r\n"
        b'Content-Type: application/json\r\nContent-Length: 7\r\nETag: "1"\r\nCache-Control: no-store\r\n\r\n{"a":1}'
    )


def test_the_answer_to_a_head_has_the_length_of_the_body_that_it_lacks() -> None:
    rendered = ResponseWriter(Clock()).render(Response(200, b"12345"), Request("HEAD", "/", "", {}, b"", "id", ()))
    assert b"Content-Length: 5\r\n" in rendered
    assert rendered.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_says_nothing_of_one(status: int) -> None:
    rendered = ResponseWriter(Clock()).render(
        Response(status, header_block=header("ETag", '"1"')), unparsed_request("id")
    )
    assert b"Content-" not in rendered
    assert b'ETag: "1"\r\n\r\n' in rendered


def test_the_last_answer_says_so() -> None:
    writer = ResponseWriter(Clock())
    assert b"\r\nConnection: close\r\n" in writer.render(Response(200, b"x"), unparsed_request("id"), CLOSE)
    assert b"\r\nConnection: close\r\n\r\n" in writer.render(Response(204), unparsed_request("id"), CLOSE)
    assert b"Connection" not in writer.render(Response(200, b"x"), unparsed_request("id"))


def test_the_date_follows_the_clock_when_it_is_refreshed() -> None:
    clock = Clock()
    writer = ResponseWriter(clock)
    clock.now += 1
    writer.refresh()
    assert b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n" in writer.render(Response(204), unparsed_request("id"))


def test_a_response_with_the_date_of_its_origin_is_not_dated_again() -> None:
    writer = ResponseWriter(Clock())
    response = Response(200, b"x", header_block=header("Date", "Sat, 05 Nov 1994 00:00:00 GMT") + header("ETag", '"1"'))
    whole = writer.render(response, unparsed_request("id"))
    head = writer.render_head(response, unparsed_request("id"), length=1, connection=b"", is_chunked=False)
    for rendered in (whole, head):
        assert rendered.count(b"Date: ") == 1
        assert b"Date: Sat, 05 Nov 1994 00:00:00 GMT\r\n" in rendered
        assert b"Server: peakgate\r\n" in rendered


def test_requests_are_counted_under_the_name_of_their_process() -> None:
    made = ids()
    assert [made.of({}) for _ in range(3)] == ["abababab00000001", "abababab00000002", "abababab00000003"]


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-00",
        f"cc-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-what-the-future-brings",
    ],
)
def test_a_trace_id_is_taken_over(traceparent: str) -> None:
    assert ids().of(CIMultiDict(TraceParent=traceparent)) == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "garbage",
        TRACE,
        f"00-{TRACE}",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01 ",
        f"00-{TRACE}-{PARENT}-zz",
        f"00-{TRACE}-{'z' * 16}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE[:-1]}é-{PARENT}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"zz-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\udcff",
    ],
)
def test_garbage_is_no_trace_id(traceparent: str) -> None:
    assert ids().of({"traceparent": traceparent}) == "abababab00000001"
