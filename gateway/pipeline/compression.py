"""Send less: gzip, br or zstd, where an answer is text, long enough, and holds no secrets beside text of others (BREACH).

Only for routes that are named as such when layers are composed: the catalogue, the documents, and what is forwarded with
`compress`. A cart's id is a secret, and its lines are what somebody chose, so carts and orders are never compressed.
"""

from __future__ import annotations

import re
import zlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, NamedTuple

import brotli
import zstandard

from gateway.http.message import Handler, Layer, Request, Response, StreamedResponse, after, header

_KEPT_BYTES: Final = 8 * 1024 * 1024
_TEXT: Final = re.compile(
    rb"(?:text/(?!event-stream)|image/svg\+xml|application/(?:[\w.+-]*(?:json|xml|javascript)|wasm))", re.IGNORECASE
)
_STRONG_TAG: Final = re.compile(rb'(?im)^(ETag: )(?=")')
_VARY: Final = header("Vary", "Accept-Encoding")
# They have no body, or only a part of one.
_AS_THEY_ARE: Final = frozenset({204, 206, 304})


class _Stream(NamedTuple):
    """A compressor of pieces: what each becomes, ready to be read at the other end, and what closes the whole."""

    take: Callable[[bytes], bytes]
    end: Callable[[], bytes]


class _Coding(NamedTuple):
    name: str
    whole: Callable[[bytes], bytes]
    stream: Callable[[], _Stream]


def _gzip_stream() -> _Stream:
    gzip = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    return _Stream(lambda piece: gzip.compress(piece) + gzip.flush(zlib.Z_SYNC_FLUSH), gzip.flush)


def _brotli_stream() -> _Stream:
    br = brotli.Compressor(quality=_BROTLI_QUALITY)
    return _Stream(lambda piece: br.process(piece) + br.flush(), br.finish)


def _zstd_stream() -> _Stream:
    zstd = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    block, finish = zstandard.COMPRESSOBJ_FLUSH_BLOCK, zstandard.COMPRESSOBJ_FLUSH_FINISH
    return _Stream(lambda piece: zstd.compress(piece) + zstd.flush(block), lambda: zstd.flush(finish))


# Levels that cost a worker tens of microseconds for a page, not milliseconds.
_GZIP_LEVEL, _BROTLI_QUALITY, _ZSTD_LEVEL = 4, 4, 3
# The first that the shopper takes; all three are offered by every browser of today.
_CODINGS: Final = (
    _Coding("zstd", zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress, _zstd_stream),
    _Coding("br", lambda body: brotli.compress(body, quality=_BROTLI_QUALITY), _brotli_stream),
    _Coding("gzip", lambda body: zlib.compress(body, _GZIP_LEVEL, 31), _gzip_stream),
)


def compression(least_bytes: int) -> Layer:
    """Compress answers of at least `least_bytes` as the request accepts it (RFC 9110, 12.5.3).

    A strong entity tag becomes weak, since the bytes are others (RFC 9110, 8.8.1). What was compressed lately is kept, so
    that an answer that is the same for many is compressed once.
    """
    kept = _Kept(_KEPT_BYTES)

    def compress(request: Request, response: Response) -> Response:
        if response.status in _AS_THEY_ARE or not _TEXT.match(response.content_type):
            return response
        is_stream = isinstance(response, StreamedResponse)
        if not is_stream and len(response.body) < least_bytes:
            return response
        said = response.header_block.lower()
        if b"content-encoding:" in said or b"no-transform" in said:
            return response
        request.extra_headers += _VARY
        coding = chosen(request.headers.get("Accept-Encoding", ""))
        if coding is None:
            return response
        headers = _STRONG_TAG.sub(rb"\1W/", response.header_block) + header("Content-Encoding", coding.name)
        if isinstance(response, StreamedResponse):
            pieces = _compressed(response.chunks, coding.stream())
            return StreamedResponse(response.status, pieces, header_block=headers, content_type=response.content_type)
        body = kept.get(coding, response.body)
        return Response(response.status, body, header_block=headers, content_type=response.content_type)

    def layer(handler: Handler) -> Handler:
        return after(handler, compress)

    return layer


def chosen(accepted: str) -> _Coding | None:
    """Our first coding that `Accept-Encoding` takes; None for none."""
    if not accepted:
        return None
    takes = {}
    for item in accepted.lower().split(","):
        name, _, parameter = item.partition(";")
        takes[name.strip()] = parameter.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    others = takes.get("*", False)
    return next((coding for coding in _CODINGS if takes.get(coding.name, others)), None)


async def _compressed(chunks: AsyncGenerator[bytes, None], stream: _Stream) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            if chunk:
                yield stream.take(chunk)
        yield stream.end()


class _Kept:
    """What was compressed lately, up to so many bytes; the longest unused goes first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._bodies: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()

    def get(self, coding: _Coding, body: bytes) -> bytes:
        key = (coding.name, body)
        found = self._bodies.get(key)
        if found is not None:
            self._bodies.move_to_end(key)
            return found
        found = self._bodies[key] = coding.whole(body)
        self._bytes += len(body) + len(found)
        while self._bytes > self._most_bytes:
            (_, old), packed = self._bodies.popitem(last=False)
            self._bytes -= len(old) + len(packed)
        return found
