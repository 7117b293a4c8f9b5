"""Content codings for responses (RFC 9110, 8.4.1): zstd, br and gzip, for whole bodies and streams."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, NamedTuple

import brotli
import zstandard

# Levels that cost a worker tens of microseconds for a page, not milliseconds.
_GZIP_LEVEL, _BROTLI_QUALITY, _ZSTD_LEVEL = 4, 4, 3


class StreamCompressor(NamedTuple):
    """Compresses a stream: each chunk can be decompressed as soon as it arrives, and `end` completes the stream."""

    compress: Callable[[bytes], bytes]
    end: Callable[[], bytes]


class Coding(NamedTuple):
    """A content coding."""

    name: str
    compress: Callable[[bytes], bytes]
    stream: Callable[[], StreamCompressor]


def _gzip_stream() -> StreamCompressor:
    gzip = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    return StreamCompressor(lambda chunk: gzip.compress(chunk) + gzip.flush(zlib.Z_SYNC_FLUSH), gzip.flush)


def _brotli_stream() -> StreamCompressor:
    br = brotli.Compressor(quality=_BROTLI_QUALITY)
    return StreamCompressor(lambda chunk: br.process(chunk) + br.flush(), br.finish)


def _zstd_stream() -> StreamCompressor:
    zstd = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    block, finish = zstandard.COMPRESSOBJ_FLUSH_BLOCK, zstandard.COMPRESSOBJ_FLUSH_FINISH
    return StreamCompressor(lambda chunk: zstd.compress(chunk) + zstd.flush(block), lambda: zstd.flush(finish))


# In order of preference; all browsers of today accept all three.
_CODINGS: Final = (
    Coding("zstd", zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress, _zstd_stream),
    Coding("br", lambda body: brotli.compress(body, quality=_BROTLI_QUALITY), _brotli_stream),
    Coding("gzip", lambda body: zlib.compress(body, _GZIP_LEVEL, 31), _gzip_stream),
)


def preferred_coding(accepted: str) -> Coding | None:
    """The first of our codings that an `Accept-Encoding` accepts; None for none."""
    if not accepted:
        return None
    accepts = {}
    for item in accepted.lower().split(","):
        name, _, parameter = item.partition(";")
        accepts[name.strip()] = parameter.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    others = accepts.get("*", False)
    return next((coding for coding in _CODINGS if accepts.get(coding.name, others)), None)


async def compressed_chunks(
    chunks: AsyncGenerator[bytes, None], stream: StreamCompressor
) -> AsyncGenerator[bytes, None]:
    """The chunks of a stream, compressed one by one."""
    async with aclosing(chunks):
        async for chunk in chunks:
            if chunk:
                yield stream.compress(chunk)
        yield stream.end()
