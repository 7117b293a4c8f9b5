"""What is read of one response of an upstream depends neither on those before it nor on the pieces in which it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.message import StreamedResponse
from gateway.proxy.connection import Connection
from tests.http1_driver import byte_by_byte, in_pieces
from tests.property.gateway.proxy.test_received_responses import Owner, Wire

NAMES = st.sampled_from(
    [
        "Set-Cookie",
        "Location",
        "Content-Type",
        "ETag",
        "X-A",
        "x-a",
        "Connection",
        "Date",
        "Keep-Alive",
        "Cache-Control",
    ]
)
VALUES = st.sampled_from(["", "a=b; Path=/", "text/html", "x-a", "keep-alive", "no-store"]) | st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=8
).map(str.strip)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(
    # Two types are an error, and a closed connection reads no next response.
    lambda fields: [(name, value) for name, value in {name.lower(): (name, value) for name, value in fields}.values()]
)
PIECES = st.lists(
    st.binary(max_size=12) | st.sampled_from([b"\r\n\r\n", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 300]),
    max_size=3,
)
# Above this a body is streamed.
BUFFER_BYTES = 200


def encoded(fields: list[tuple[str, str]]) -> bytes:
    return b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in fields)


def counted(fields: list[tuple[str, str]], pieces: list[bytes]) -> bytes:
    body = b"".join(pieces)
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (encoded(fields), len(body), body)


def chunked(
    fields: list[tuple[str, str]], pieces: list[bytes], trailers: list[tuple[str, str]], extension: bytes
) -> bytes:
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces if piece)
    head = b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % encoded(fields)
    return b"%b%b0%b\r\n%b\r\n" % (head, chunks, extension, encoded(trailers))


def bodiless(status: int, fields: list[tuple[str, str]]) -> bytes:
    return b"HTTP/1.1 %d X\r\n%b\r\n" % (status, encoded(fields))


FINAL = st.one_of(
    st.builds(counted, FIELDS, PIECES),
    st.builds(chunked, FIELDS, PIECES, FIELDS, st.sampled_from([b"", b";a=b"])),
    st.builds(bodiless, st.sampled_from([204, 304]), FIELDS),
)
INTERIM = st.builds(bodiless, st.sampled_from([100, 103]), FIELDS)
RESPONSES = st.builds(lambda interims, final: b"".join([*interims, final]), st.lists(INTERIM, max_size=2), FINAL)

Read = tuple[int, bytes, bytes, bytes]


@asynccontextmanager
async def connected() -> AsyncIterator[Connection]:
    owner = Owner()
    owner.buffer_bytes = BUFFER_BYTES
    connection = Connection(owner)
    connection.connection_made(Wire())
    yield connection
    connection.abort()


async def read(connection: Connection, pieces: list[bytes]) -> Read:
    """The response to the next request, which arrives in these pieces."""
    responding = connection.request(b"", is_bodiless=False, deadline=1e9, idle_timeout_s=1e9)
    for piece in pieces:
        connection.data_received(piece)
    response = await responding
    body = response.body
    if isinstance(response, StreamedResponse):
        body = b"".join([piece async for piece in response.chunks])
    return response.status, response.content_type, response.header_block, body


async def alone(data: bytes) -> Read:
    async with connected() as connection:
        return await read(connection, [data])


async def check(sent: list[bytes], cuts: list[int]) -> None:
    expected = [await alone(data) for data in sent]
    for split in (lambda data: [data], lambda data: in_pieces(data, cuts), byte_by_byte):
        async with connected() as connection:
            assert [await read(connection, split(data)) for data in sent] == expected
            assert connection.is_open


@given(sent=st.lists(RESPONSES, min_size=1, max_size=5), cuts=st.lists(st.integers(0, 900), max_size=10))
def test_a_response_is_read_as_if_it_were_alone(sent: list[bytes], cuts: list[int]) -> None:
    asyncio.run(check(sent, cuts))


@given(fields=FIELDS, trailers=FIELDS, pieces=PIECES, cuts=st.lists(st.integers(0, 900), max_size=10))
def test_a_trailer_is_no_field_of_any_response(
    fields: list[tuple[str, str]], trailers: list[tuple[str, str]], pieces: list[bytes], cuts: list[int]
) -> None:
    async def both() -> tuple[list[Read], list[Read]]:
        last = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        async with connected() as connection:
            with_trailers = in_pieces(chunked(fields, pieces, trailers, b""), cuts)
            found = [await read(connection, with_trailers), await read(connection, [last])]
        return found, [await alone(chunked(fields, pieces, [], b"")), await alone(last)]

    found, expected = asyncio.run(both())
    assert found == expected
