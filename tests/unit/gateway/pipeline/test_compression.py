from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable

import brotli
import pytest
import zstandard

from gateway.http.message import Request, Response, StreamedResponse, header, resolve
from gateway.pipeline.codings import preferred_coding
from gateway.pipeline.compression import compression

TEXT = b'{"name":"a mug"}' * 200
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: zlib.decompress(data, 31),
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


def packed(response: Response, accepted: str = "gzip", min_bytes: int = 100) -> tuple[Response, bytes]:
    request = Request("GET", "/v1/products", "", {"Accept-Encoding": accepted}, b"", "id", ())

    async def later(_request: Request) -> Response:
        return response

    handler = compression(min_bytes)(later)
    return asyncio.run(resolve(handler(request))), request.extra_headers


@pytest.mark.parametrize("coding", UNPACK)
def test_text_is_compressed_with_an_accepted_coding(coding: str) -> None:
    response, notes = packed(Response(200, TEXT), coding)
    assert f"Content-Encoding: {coding}\r\n".encode() in response.header_block
    assert b"Vary: Accept-Encoding\r\n" in notes
    assert len(response.body) < len(TEXT) / 5
    assert UNPACK[coding](response.body) == TEXT


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, br", "br"),
        ("GZIP", "gzip"),
        ("gzip;q=0, br;q=0.5", "br"),
        ("*", "zstd"),
        ("*, zstd;q=0", "br"),
        ("gzip;q=1.0, br;q=0.5, zstd;q=0.2", "gzip"),
        ("gzip;q=0.5, *;q=0.1", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip;q=0.5, identity", None),
        ("gzip, identity;q=0.5", "gzip"),
        ("gzip;q=0.8, identity;q=0.8", "gzip"),
        ("identity;q=0.5, *;q=0", None),
        ("gzip;q=nonsense", "gzip"),
        ("br; q = 0.001", "br"),
        ("identity", None),
        ("*;q=0", None),
        ("gzip; q=0", None),
        ("", None),
        (",;,=", None),
    ],
)
def test_the_coding_of_the_greatest_weight_is_preferred_and_of_several_our_first(
    accepted: str, coding: str | None
) -> None:
    found = preferred_coding(accepted)
    assert (found.name if found else None) == coding


def test_a_strong_tag_becomes_weak_and_a_weak_one_stays() -> None:
    assert b'ETag: W/"1"\r\n' in packed(Response(200, TEXT, header_block=header("ETag", '"1"')))[0].header_block
    assert b'ETag: W/"1"\r\n' in packed(Response(200, TEXT, header_block=header("ETag", 'W/"1"')))[0].header_block


@pytest.mark.parametrize(
    "response",
    [
        Response(200, b"short"),
        Response(200, TEXT, content_type=b"image/png"),
        Response(200, TEXT, content_type=b"text/event-stream"),
        Response(200, TEXT, header_block=header("Content-Encoding", "br")),
        Response(200, TEXT, header_block=header("Cache-Control", "public, No-Transform")),
        Response(206, TEXT),
        Response(204),
        Response(304),
    ],
    ids=["short", "a picture", "events", "compressed", "not to be changed", "a part", "nothing", "not modified"],
)
def test_other_responses_are_unchanged(response: Response) -> None:
    assert packed(response)[0] is response


def test_without_an_accepted_coding_the_body_is_plain_and_varies() -> None:
    response, notes = packed(Response(200, TEXT), "identity")
    assert response.body == TEXT
    assert b"Vary: Accept-Encoding\r\n" in notes


@pytest.mark.parametrize("coding", UNPACK)
def test_a_stream_is_compressed_in_chunks_that_decompress_at_once(coding: str) -> None:
    closed = []

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(3):
                yield TEXT
        finally:
            closed.append(True)

    async def read() -> list[bytes]:
        handler = compression(100)(
            lambda _request: StreamedResponse(200, pieces(), content_type=b"text/html", length=9)
        )
        response = await resolve(handler(Request("GET", "/", "", {"Accept-Encoding": coding}, b"", "id", ())))
        assert isinstance(response, StreamedResponse)
        assert response.length is None
        return [piece async for piece in response.chunks]

    found = asyncio.run(read())
    assert len(found) == 4
    assert all(found)
    assert UNPACK[coding](b"".join(found)) == TEXT * 3
    assert closed
