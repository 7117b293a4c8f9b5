"""Compress responses that are text and long enough (RFC 9110, 12.5.3).

Only for routes that hold no secrets beside text of others (BREACH): the catalogue, the documents, and forwarded routes with
`compress`. A cart's id is a secret and a shopper chose its lines, so carts and orders are never compressed.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.http.message import Handler, Layer, Request, Response, StreamedResponse, after, header
from gateway.pipeline.codings import compressed_chunks, preferred_coding
from primitives.bounded_map import BoundedMap

_CACHE_BYTES: Final = 8 * 1024 * 1024
_TEXT: Final = re.compile(
    rb"(?:text/(?!event-stream)|image/svg\+xml|application/(?:[\w.+-]*(?:json|xml|javascript)|wasm))", re.IGNORECASE
)
_STRONG_TAG: Final = re.compile(rb'(?im)^(ETag: )(?=")')
_VARY: Final = header("Vary", "Accept-Encoding")
# No body, or only a part of one.
_NOT_WHOLE: Final = frozenset({204, 206, 304})


def compression(min_bytes: int) -> Layer:
    """Compress responses of at least `min_bytes` with a coding that the request accepts.

    A strong entity tag becomes weak, because the bytes differ (RFC 9110, 8.8.1). Compressed bodies are cached, so that a
    body that many clients get is compressed once.
    """
    cache: BoundedMap[tuple[str, bytes], bytes] = BoundedMap(_CACHE_BYTES, weigh=_bytes_of)

    def compress(request: Request, response: Response) -> Response:
        if response.status in _NOT_WHOLE or not _TEXT.match(response.content_type):
            return response
        if not isinstance(response, StreamedResponse) and len(response.body) < min_bytes:
            return response
        fields = response.header_block.lower()
        if b"content-encoding:" in fields or b"no-transform" in fields:
            return response
        request.extra_headers += _VARY
        coding = preferred_coding(request.headers.get("Accept-Encoding", ""))
        if coding is None:
            return response
        headers = _STRONG_TAG.sub(rb"\1W/", response.header_block) + header("Content-Encoding", coding.name)
        if isinstance(response, StreamedResponse):
            chunks = compressed_chunks(response.chunks, coding.stream())
            return StreamedResponse(response.status, chunks, header_block=headers, content_type=response.content_type)
        key = (coding.name, response.body)
        body = cache.get(key)
        if body is None:
            body = coding.compress(response.body)
            cache.put(key, body)
        return Response(response.status, body, header_block=headers, content_type=response.content_type)

    def layer(handler: Handler) -> Handler:
        return after(handler, compress, "compression")

    return layer


def _bytes_of(key: tuple[str, bytes], compressed: bytes) -> int:
    return len(key[1]) + len(compressed)
