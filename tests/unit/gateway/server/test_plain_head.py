from __future__ import annotations

import pytest

from gateway.server.plain_head import PlainHeadReader

SHOPPER = (
    b"GET /v1/products/85123A?x=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8\r\nAccept: */*\r\n"
    b"X-Forwarded-For: 203.0.113.7\r\nX-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678\r\n\r\n"
)


def test_a_plain_section_is_read_without_the_parser() -> None:
    head = PlainHeadReader().read(SHOPPER)
    assert head is not None
    assert (head.line.method, head.line.target) == ("GET", "/v1/products/85123A?x=1")
    assert head.headers["x-forwarded-for"] == "203.0.113.7"
    assert list(head.headers) == ["Host", "User-Agent", "Accept", "X-Forwarded-For", "X-Amzn-Trace-Id"]
    assert head.is_http11
    assert not head.should_close


def test_a_body_of_a_known_length_is_plain() -> None:
    head = PlainHeadReader().read(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 0012\r\n\r\n")
    assert head is not None
    assert head.content_length == 12


def test_lines_of_one_client_are_not_seen_in_requests_of_another() -> None:
    reader = PlainHeadReader()
    assert reader.read(SHOPPER) is not None
    head = reader.read(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    assert head is not None
    assert list(head.headers.items()) == [("Host", "shop.example")]


def test_credentials_and_lines_that_never_repeat_are_not_cached() -> None:
    reader = PlainHeadReader()
    private = b"Cookie: session=1\r\nAuthorization: Bearer x\r\nX-Api-Key: k\r\nWaiting-Room-Token: t\r\n\r\n"
    assert reader.read(SHOPPER[:-2] + private) is not None
    cached = {line for line, _ in reader._fields.items()}
    assert cached == {b"Host: shop.example", b"User-Agent: curl/8", b"Accept: */*"}
    in_shapes = {slot.field.line for shapes in reader._shapes for shape in shapes for slot in shape.slots if slot.field}
    assert in_shapes == cached


def test_shapes_are_bounded() -> None:
    reader = PlainHeadReader()
    for number in range(100):
        assert reader.read(b"GET / HTTP/1.1\r\nHost: shop\r\nX-%d: 1\r\n\r\n" % number) is not None
    assert [len(shapes) for shapes in reader._shapes if shapes] == [4]


def test_a_value_that_was_not_read_before_keeps_the_shape() -> None:
    reader = PlainHeadReader()
    for number in range(100):
        assert reader.read(b"GET / HTTP/1.1\r\nHost: shop\r\nReferer: %d\r\nCookie: %d\r\n\r\n" % (number, number))
    assert [len(shapes) for shapes in reader._shapes if shapes] == [1]


def test_a_request_line_is_read_once() -> None:
    reader = PlainHeadReader()
    first, second = reader.read(SHOPPER), reader.read(SHOPPER)
    assert first is not None
    assert second is not None
    assert second.line is first.line
    reader.forget_request_lines()
    third = reader.read(SHOPPER)
    assert third is not None
    assert third.line is not first.line


def test_the_cache_is_bounded() -> None:
    reader = PlainHeadReader()
    for number in range(10_000):
        assert reader.read(b"GET / HTTP/1.1\r\nHost: shop\r\nX: %d\r\n\r\n" % number) is not None
    assert len(list(reader._fields.items())) <= 2048


@pytest.mark.parametrize(
    "section",
    [
        b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAccept: a\r\naccept: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n b: folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nb: c\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 70 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 5000 + b"\r\n\r\n",
    ],
)
def test_an_unusual_section_is_left_to_the_parser(section: bytes) -> None:
    assert PlainHeadReader().read(section) is None
