"""Responses from stored ones: hits, 304s, parts, and stale ones in place of errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.cache.cache import ResponseCache
from gateway.cache.header_block import date_of
from gateway.cache.ranges import partial_response
from gateway.cache.request_fields import RANGE, accepts_not_modified, ranges_of
from gateway.cache.stored_response import StoredResponse
from gateway.http.message import Request, Response

Mark = Callable[[Request, str], None]
_OK: Final = 200


class Serving:
    """`mark` is called with each request that is served stale in place of an error, and with the name `degraded`."""

    __slots__ = ("_clock", "_degraded", "_mark", "_stats")

    def __init__(self, cache: ResponseCache, mark: Mark, degraded: str) -> None:
        self._clock = cache.clock
        self._stats = cache.stats
        self._mark = mark
        self._degraded = degraded

    def serve(self, request: Request, stored: StoredResponse, now: float) -> Response:
        """A hit: the stored response, or 304 if the client has it already."""
        if can_be_not_modified(request, stored):
            self._stats.not_modified += 1
            return stored.not_modified(now)
        self._stats.hit += 1
        return as_requested(request, stored, stored.hit(now))

    def serve_with(self, request: Request, stored: StoredResponse, now: float, cache_status: bytes) -> Response:
        """The same with another `Cache-Status`."""
        if can_be_not_modified(request, stored):
            return stored.not_modified_with(cache_status, now)
        return as_requested(request, stored, stored.response_with(cache_status, now))

    def stale_if_error(self, request: Request, stored: StoredResponse, cache_status: bytes) -> Response:
        """The stored response in place of an error (RFC 5861, 4)."""
        self._stats.stale_if_error += 1
        self._mark(request, self._degraded)
        return self.serve_with(request, stored, self._clock(), cache_status)


def can_be_not_modified(request: Request, stored: StoredResponse) -> bool:
    """Whether a 304 is enough."""
    if stored.status != _OK:
        return False
    return accepts_not_modified(request.headers, stored.validators, date_of(stored.header_block))


def as_requested(request: Request, stored: StoredResponse, whole: Response) -> Response:
    """The parts of a stored response that `Range` asks for; the whole if it asks for none (RFC 9110, 14.2)."""
    headers = request.headers
    if RANGE not in headers or request.method != "GET" or stored.status != _OK:
        return whole
    ranges = ranges_of(headers, stored.validators, date_of(stored.header_block), len(stored.body))
    return whole if ranges is None else partial_response(whole, ranges)
