"""Content codings for responses (RFC 9110, 8.4.1): zstd, br and gzip, for whole bodies and streams."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, NamedTuple

import brotli
import zstandard

from primitives.bounded_map import BoundedMap

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


_WEIGHT: Final = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
# Clients send few different values of `Accept-Encoding`; parsing one costs more than the rest of the layer.
_MAX_REMEMBERED: Final = 1_000
_MAX_REMEMBERED_CHARACTERS: Final = 200
_choices: BoundedMap[str, tuple[Coding | None]] = BoundedMap(_MAX_REMEMBERED)

# In order of preference; all browsers of today accept all three.
_CODINGS: Final = (
    Coding("zstd", zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress, _zstd_stream),
    Coding("br", lambda body: brotli.compress(body, quality=_BROTLI_QUALITY), _brotli_stream),
    Coding("gzip", lambda body: zlib.compress(body, _GZIP_LEVEL, 31), _gzip_stream),
)


def preferred_coding(accepted: str) -> Coding | None:
    """The coding of ours that an `Accept-Encoding` weighs most, the first of several; None for none, or less than `identity`."""
    known = _choices.get(accepted)
    if known is None:
        known = (_choose(accepted),)
        if len(accepted) <= _MAX_REMEMBERED_CHARACTERS:
            _choices.put(accepted, known)
    return known[0]


def _choose(accepted: str) -> Coding | None:
    weights: dict[str, float] = {}
    for item in accepted.lower().split(","):
        name, _, parameter = item.partition(";")
        found = _WEIGHT.fullmatch(parameter.replace(" ", "").replace("\t", ""))
        coding = name.strip(" \t")
        weights["gzip" if coding == "x-gzip" else coding] = float(found[1]) if found is not None else 1.0
    others = weights.get("*", 0.0)
    best = max(_CODINGS, key=lambda each: weights.get(each.name, others))
    weight = weights.get(best.name, others)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


async def compressed_chunks(
    chunks: AsyncGenerator[bytes, None], stream: StreamCompressor
) -> AsyncGenerator[bytes, None]:
    """The chunks of a stream, compressed one by one."""
    async with aclosing(chunks):
        async for chunk in chunks:
            if chunk:
                yield stream.compress(chunk)
        yield stream.end()
