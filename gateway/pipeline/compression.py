"""Compress responses that are text and long enough (RFC 9110, 12.5.3).

Only for routes that hold no secrets beside text of others (BREACH): the catalogue, the documents, and forwarded routes with
`compress`. A cart's id is a secret and a shopper chose its lines, so carts and orders are never compressed.
"""

from __future__ import annotations

import re
from typing import Final

from multidict import CIMultiDict, MultiMapping, istr

from gateway.http.header_lines import add_vary, without_lines
from gateway.http.message import (
    Handler,
    Layer,
    Request,
    Response,
    ResponseOrAwaitable,
    StreamedResponse,
    after,
    contained,
    resolve,
)
from gateway.pipeline.codings import compressed_chunks, preferred_coding
from primitives.bounded_map import BoundedMap

# The name under which failures are counted.
_PART: Final = "compression"
_CACHE_BYTES: Final = 8 * 1024 * 1024
_MAX_TAGS: Final = 10_000
_MAX_TAG_CHARACTERS: Final = 200
_TEXT: Final = re.compile(
    rb"(?:text/(?!event-stream)|image/svg\+xml|application/(?:[\w.+-]*(?:json|xml|javascript)|wasm))", re.IGNORECASE
)
_STRONG_TAG: Final = re.compile(rb'(?im)^(ETag: )("[^"\r\n]*")')
_WEAK_TAG: Final = re.compile(r'W/("[^"]*")')
_ACCEPT_ENCODING: Final = b"Accept-Encoding"
_CACHE_CONTROL: Final = istr("Cache-Control")
_IF_NONE_MATCH: Final = istr("If-None-Match")
_IF_MATCH: Final = istr("If-Match")
# No body, or only a part of one.
_NOT_WHOLE: Final = frozenset({204, 206, 304})
# What these say of the bytes no longer holds for compressed ones.
_OF_BYTES: Final = (b"accept-ranges:", b"content-md5:", b"digest:", b"content-digest:", b"repr-digest:")
# A path, its query and a strong tag.
_TagKey = tuple[str, str, str]


def compression(min_bytes: int) -> Layer:
    """Compress responses of handlers of our own; see `Compressor`."""
    return Compressor(min_bytes).layer


class Compressor:
    """Compresses responses of at least `min_bytes` with a coding that the request accepts.

    A strong entity tag becomes weak, because the bytes differ (RFC 9110, 8.8.1), in the 304 as in the 200. Compressed
    bodies are cached, so that a body that many clients get is compressed once.
    """

    __slots__ = ("_bodies", "_min_bytes", "_tags")

    def __init__(self, min_bytes: int) -> None:
        self._min_bytes = min_bytes
        self._bodies: BoundedMap[tuple[str, bytes], bytes] = BoundedMap(_CACHE_BYTES, weigh=_bytes_of)
        # Strong tags of upstreams whose responses vary by coding, and whether one was weakened.
        self._tags: BoundedMap[_TagKey, bool] = BoundedMap(_MAX_TAGS)

    def layer(self, handler: Handler) -> Handler:
        """The layer for handlers of our own, which compare tags weakly."""
        return after(handler, self._compress, _PART)

    def layer_of_forward(self, handler: Handler) -> Handler:
        """The layer for upstreams: conditions reach them with their own tags, because not all of them compare weakly."""
        return _ForwardCompression(self, handler).handle

    def with_own_tags(self, request: Request) -> MultiMapping[str] | None:
        """The fields of a request whose conditions have weakened tags, with the strong ones; None if it has none."""
        changed: CIMultiDict[str] | None = None
        for name in (_IF_NONE_MATCH, _IF_MATCH):
            found = request.headers.get(name)
            if found is None or "W/" not in found:
                continue
            strong = self._with_strong_tags(request, found)
            if strong != found:
                changed = changed or CIMultiDict(request.headers)
                changed[name] = strong
        return changed

    def _with_strong_tags(self, request: Request, listed: str) -> str:
        for tag in _WEAK_TAG.findall(listed):
            if self._tags.get((request.path, request.query, tag)):
                listed = listed.replace(f"W/{tag}", tag)
        return listed

    def _compress(self, request: Request, response: Response) -> Response:
        return self.compress(request, response, is_forwarded=False)

    def compress(self, request: Request, response: Response, *, is_forwarded: bool) -> Response:
        """The response, compressed if it is text and the client accepts it."""
        if response.status in _NOT_WHOLE:
            return response if response.status != 304 else self._not_modified(request, response)
        if not _TEXT.match(response.content_type) or self._is_short(request, response):
            return response
        fields = response.header_block.lower()
        if b"content-encoding:" in fields or b"no-transform" in fields:
            return response
        request.extra_headers = add_vary(request.extra_headers, _ACCEPT_ENCODING)
        coding = preferred_coding(request.headers.get("Accept-Encoding", ""))
        headers = request.headers
        if coding is not None and _CACHE_CONTROL in headers and "no-transform" in headers[_CACHE_CONTROL].lower():
            coding = None
        if is_forwarded:
            self._remember_tag(request, response, is_weakened=coding is not None)
        if coding is None:
            return response
        block = response.header_block
        if b"accept-ranges:" in fields or b"digest:" in fields or b"content-md5:" in fields:
            block = without_lines(block, _OF_BYTES)
        header_block = b"%bContent-Encoding: %b\r\n" % (_with_weak_tag(block), coding.name.encode())
        if isinstance(response, StreamedResponse):
            chunks = compressed_chunks(response.chunks, coding.stream())
            return StreamedResponse(
                response.status, chunks, header_block=header_block, content_type=response.content_type
            )
        key = (coding.name, response.body)
        body = self._bodies.get(key)
        if body is None:
            body = coding.compress(response.body)
            self._bodies.put(key, body)
        return Response(response.status, body, header_block=header_block, content_type=response.content_type)

    def _is_short(self, request: Request, response: Response) -> bool:
        if isinstance(response, StreamedResponse):
            # The length that the GET has, whose response has the same fields.
            return request.method == "HEAD" and response.length is not None and response.length < self._min_bytes
        return len(response.body) < self._min_bytes

    def _remember_tag(self, request: Request, response: Response, *, is_weakened: bool) -> None:
        found = _STRONG_TAG.search(response.header_block)
        if found is None or len(found[2]) > _MAX_TAG_CHARACTERS:
            return
        key = (request.path, request.query, found[2].decode("utf-8", "surrogateescape"))
        known = self._tags.get(key)
        if known is None or (is_weakened and not known):
            self._tags.put(key, is_weakened)

    def _not_modified(self, request: Request, response: Response) -> Response:
        """The 304 with the fields of its 200 (RFC 9110, 15.4.5), as far as they can be known without its body."""
        found = _STRONG_TAG.search(response.header_block)
        is_weak = False
        if found is not None:
            tag = found[2].decode("utf-8", "surrogateescape")
            listed = request.headers.get(_IF_NONE_MATCH, "*")
            was_weakened = self._tags.get((request.path, request.query, tag))
            is_weak = f"W/{tag}" in listed
            if not is_weak:
                if tag in listed and was_weakened is None:
                    # The client has a response that was not compressed, such as a picture.
                    return response
                is_weak = was_weakened is not False and self._accepts_coding(request)
        request.extra_headers = add_vary(request.extra_headers, _ACCEPT_ENCODING)
        if not is_weak:
            return response
        return response.with_header_block(_with_weak_tag(response.header_block))

    def _accepts_coding(self, request: Request) -> bool:
        return preferred_coding(request.headers.get("Accept-Encoding", "")) is not None


class _ForwardCompression:
    """The compression of one forwarded prefix."""

    __slots__ = ("_compressor", "_handler", "_usual")

    def __init__(self, compressor: Compressor, handler: Handler) -> None:
        self._compressor = compressor
        self._handler = handler
        self._usual = after(handler, self._compress, _PART)

    def handle(self, request: Request) -> ResponseOrAwaitable:
        """The handler."""
        headers = request.headers
        if _IF_NONE_MATCH in headers or _IF_MATCH in headers:
            own = self._compressor.with_own_tags(request)
            if own is not None:
                return self._send_with(request, own)
        return self._usual(request)

    async def _send_with(self, request: Request, headers: MultiMapping[str]) -> Response:
        clients = request.headers
        request.headers = headers
        response = await resolve(self._handler(request))
        request.headers = clients
        return contained(self._compress, request, response, _PART)

    def _compress(self, request: Request, response: Response) -> Response:
        return self._compressor.compress(request, response, is_forwarded=True)


def _with_weak_tag(header_block: bytes) -> bytes:
    """The block with a strong entity tag made weak; found without a regular expression, which would cost more than the rest."""
    lower = header_block.lower()
    at = 0 if lower.startswith(b'etag: "') else lower.find(b'\r\netag: "') + 2
    if at == 1:
        return header_block
    return b"%bW/%b" % (header_block[: at + 6], header_block[at + 6 :])


def _bytes_of(key: tuple[str, bytes], compressed: bytes) -> int:
    return len(key[1]) + len(compressed)
