"""Parts of stored responses (RFC 9110, 14)."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from gateway.cache.ranges import MAX_RANGES, parse_ranges
from gateway.http.message import Handler, Response
from tests.unit.gateway.cache.cached_origin import CACHEABLE, Clock, Origin, cache_status, get, response_with, send

BODY = b"0123456789"


@pytest.fixture
def stored(cached: Handler, origin: Origin, clock: Clock) -> Handler:
    origin.respond = lambda _request: response_with(
        ("Cache-Control", "max-age=60"),
        ("ETag", '"a"'),
        ("Last-Modified", formatdate(clock.wall() - 3600, usegmt=True)),
        ("X-Kept", "1"),
        body=BODY,
    )
    return cached


@pytest.mark.parametrize(
    ("field", "ranges"),
    [
        ("bytes=0-0", [(0, 0)]),
        ("bytes=2-5", [(2, 5)]),
        ("Bytes=2-", [(2, 9)]),
        ("bytes=-3", [(7, 9)]),
        ("bytes=-30", [(0, 9)]),
        ("bytes=5-99", [(5, 9)]),
        ("bytes=0-1, 4-5 ,-1", [(0, 1), (4, 5), (9, 9)]),
        ("bytes=0-1,,10-", [(0, 1)]),
        ("bytes=10-", []),
        ("bytes=-0", []),
        ("bytes=99-100,-0", []),
    ],
)
def test_the_ranges_of_ten_bytes(field: str, ranges: list[tuple[int, int]]) -> None:
    assert parse_ranges(field, 10) == ranges


@pytest.mark.parametrize(
    "field",
    [
        "lines=0-1",
        "bytes 0-1",
        "bytes=",
        "bytes=5-2",
        "bytes=a-b",
        "bytes=-",
        "bytes=0-1;2",
        "bytes=٣-",
        "bytes=0-9,0-9",
        "bytes=" + "0-0," * (MAX_RANGES + 1),
    ],
)
def test_a_malformed_or_greedy_field_is_ignored(field: str) -> None:
    assert parse_ranges(field, 10) is None


@pytest.mark.parametrize(
    ("field", "body", "content_range"),
    [
        ("bytes=0-1", b"01", b"bytes 0-1/10"),
        ("bytes=1-", b"123456789", b"bytes 1-9/10"),
        ("bytes=-1", b"9", b"bytes 9-9/10"),
    ],
)
async def test_a_part_of_a_stored_response_is_a_206(
    stored: Handler, origin: Origin, field: str, body: bytes, content_range: bytes
) -> None:
    await send(stored)
    part = await send(stored, get(Range=field))
    assert (part.status, part.body) == (206, body)
    for line in (b"Content-Range: " + content_range, b'ETag: "a"', b"X-Kept: 1", b"Age: 0"):
        assert line + b"\r\n" in part.header_block
    assert cache_status(part) == "hit; ttl=60"
    assert origin.times == 1


@pytest.mark.parametrize("field", ["bytes=0-1", "bytes=0-1,-2"])
async def test_a_part_has_no_digest_of_the_whole_message(stored: Handler, origin: Origin, field: str) -> None:
    digests = b"Content-MD5: x\r\ncontent-digest: y\r\nRepr-Digest: z\r\n"
    origin.respond = lambda _request: Response(200, BODY, header_block=CACHEABLE + digests)
    await send(stored)
    part = await send(stored, get(Range=field))
    assert part.status == 206
    assert b"Content-MD5" not in part.header_block
    assert b"content-digest" not in part.header_block
    assert b"Repr-Digest: z\r\n" in part.header_block
    whole = await send(stored)
    assert digests in whole.header_block


async def test_a_304_has_no_digest_of_a_message_with_a_body(stored: Handler, origin: Origin) -> None:
    digests = b"Content-MD5: x\r\ncontent-digest: y\r\n"
    origin.respond = lambda _request: Response(200, BODY, header_block=CACHEABLE + digests)
    await send(stored)
    response = await send(stored, get(If_None_Match="*"))
    assert response.status == 304
    assert b"content-" not in response.header_block.lower()


async def test_several_parts_are_sent_in_one_message(stored: Handler, origin: Origin) -> None:
    await send(stored)
    parts = await send(stored, get(Range="bytes=0-1,-2"))
    kind, _, boundary = parts.content_type.partition(b"; boundary=")
    assert (parts.status, kind) == (206, b"multipart/byteranges")
    head = b"Content-Type: application/json\r\nContent-Range: bytes %b/10\r\n\r\n%b\r\n"
    first, second = (head % pair for pair in ((b"0-1", b"01"), (b"8-9", b"89")))
    line = b"--" + boundary
    assert parts.body == line + b"\r\n" + first + line + b"\r\n" + second + line + b"--\r\n"
    assert b"Content-Range" not in parts.header_block
    assert origin.times == 1


async def test_parts_of_a_response_without_a_type_have_none(stored: Handler, origin: Origin) -> None:
    origin.respond = lambda _request: Response(200, BODY, header_block=CACHEABLE, content_type=b"")
    await send(stored)
    parts = await send(stored, get(Range="bytes=0-1,-2"))
    assert parts.body.count(b"Content-") == parts.body.count(b"Content-Range: ") == 2


async def test_a_part_beyond_the_end_is_a_416(stored: Handler, origin: Origin) -> None:
    await send(stored)
    response = await send(stored, get(Range="bytes=10-"))
    assert (response.status, response.body) == (416, b"")
    assert b"Content-Range: bytes */10\r\n" in response.header_block
    assert cache_status(response) == "hit; ttl=60"
    # No cache in front of the gateway may store it as long as the 200.
    for name in (b"Cache-Control", b"ETag", b"Last-Modified"):
        assert name not in response.header_block
    assert origin.times == 1


async def test_conditions_come_before_ranges(stored: Handler, clock: Clock) -> None:
    # RFC 9110, 13.2.2
    await send(stored)
    assert (await send(stored, get(Range="bytes=0-1", If_None_Match='"a"'))).status == 304
    assert (await send(stored, get(Range="bytes=0-1", If_None_Match='"b"'))).status == 206
    since = formatdate(clock.wall(), usegmt=True)
    assert (await send(stored, get(Range="bytes=0-1", If_Modified_Since=since))).status == 304


async def test_if_range_needs_a_strong_validator(stored: Handler, origin: Origin, clock: Clock) -> None:
    # RFC 9110, 13.1.5
    await send(stored)
    modified = formatdate(clock.wall() - 3600, usegmt=True)
    for condition, status in (
        ('"a"', 206),
        (modified, 206),
        ('W/"a"', 200),
        ('"b"', 200),
        (formatdate(clock.wall(), usegmt=True), 200),
        ("x", 200),
    ):
        assert (await send(stored, get(Range="bytes=0-1", If_Range=condition))).status == status
    assert origin.times == 1
    origin.respond = lambda _request: response_with(
        ("Cache-Control", "max-age=60"), ("Last-Modified", formatdate(clock.wall(), usegmt=True)), body=BODY
    )
    changing = formatdate(clock.wall(), usegmt=True)
    await send(stored, get("/changing"))
    assert (await send(stored, get("/changing", Range="bytes=0-1", If_Range=changing))).status == 200


async def test_a_range_of_nothing_stored_is_the_origins(stored: Handler, origin: Origin) -> None:
    request = get(Range="bytes=0-1")
    response = await send(stored, request)
    assert cache_status(response, request) == "fwd=uri-miss; fwd-status=200"
    assert origin.seen[-1] is request


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_range_that_is_ignored_gets_the_whole(stored: Handler, origin: Origin, method: str) -> None:
    await send(stored)
    field = "bytes=0-1" if method == "HEAD" else "lines=1-2"
    response = await send(stored, get(method=method, Range=field))
    assert (response.status, response.body) == (200, BODY)
    assert origin.times == 1


async def test_a_stale_response_is_served_in_parts_while_the_origin_fails(
    stored: Handler, origin: Origin, clock: Clock
) -> None:
    await send(stored)
    clock.time += 61
    origin.respond = lambda _request: response_with(status=503)
    assert (await send(stored)).status == 200
    part = await send(stored, get(Range="bytes=0-1"))
    assert (part.status, part.body) == (206, b"01")
