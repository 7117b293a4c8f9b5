"""The layer of the response cache: a shared cache (RFC 9111) in front of a handler.

A hit returns its response at once, without a coroutine. Concurrent requests for one response share one fetch. Requests
and responses that may not be cached bypass the cache. Streamed responses are stored at their end. Ranges are served from complete responses.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from multidict import istr

from gateway.cache.cache import ResponseCache
from gateway.cache.cache_status import BYPASS, METHOD, REQUEST, STALE, forwarded
from gateway.cache.fetch import Fetcher
from gateway.cache.freshness import reuse, stale_if_error
from gateway.cache.invalidation import changed_addresses
from gateway.cache.model import NO_DIRECTIVES, RequestDirectives, Reuse
from gateway.cache.origin import Wanted
from gateway.cache.request_directives import request_directives
from gateway.cache.request_fields import (
    CACHE_CONTROL,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
    PRAGMA,
    RANGE,
    field_values,
    has_conditions,
    hides_fields,
    is_personal,
)
from gateway.cache.serving import Mark, Serving
from gateway.cache.stored_response import StoredResponse
from gateway.http import problems
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, contained

_READ: Final = frozenset({"GET", "HEAD"})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_ONLY_IF_CACHED: Final = {"detail": "No stored response satisfies only-if-cached."}


def response_cache(
    cache: ResponseCache,
    *,
    key_fields: Sequence[str] = ("Host",),
    is_tripped: Callable[[], bool] = lambda: False,
    mark: Mark = lambda _request, _name: None,
    degraded: str = "cache",
    validates: bool = True,
) -> Layer:
    """Cache the responses of a handler of any methods. Without effect when the cache is off.

    `key_fields` are request fields that are part of the key, the host first: those on which the responses depend without
    naming them in `Vary` (none for a handler of our own). While `is_tripped`, stale responses are served at once; it must
    return False when a probe is due (`Breaker.is_rejecting`). `mark` is called with each request that is served stale in
    place of an error, and with the name `degraded`. Without `validates`, stale responses are fetched as a whole: for a
    handler of our own a 304 costs more.
    """
    if not cache.is_enabled:
        return lambda handler: handler

    def layer(handler: Handler) -> Handler:
        serving = Serving(cache, mark, degraded)
        fetcher = Fetcher(cache, handler, serving, is_tripped, validates=validates)
        return CachedHandler(cache, handler, key_fields, is_tripped, serving, fetcher).handle

    return layer


class CachedHandler:
    """A handler with the cache in front of it."""

    __slots__ = (
        "_cache",
        "_clock",
        "_fetcher",
        "_generations",
        "_get",
        "_handler",
        "_is_tripped",
        "_key_fields",
        "_serving",
        "_stats",
    )

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        cache: ResponseCache,
        handler: Handler,
        key_fields: Sequence[str],
        is_tripped: Callable[[], bool],
        serving: Serving,
        fetcher: Fetcher,
    ) -> None:
        self._cache = cache
        self._stats = cache.stats
        self._clock = cache.clock
        self._get = cache.memory.get
        self._generations: Any = cache.generations
        self._handler = handler
        self._key_fields: tuple[str, ...] = tuple([istr(name) for name in key_fields])
        self._is_tripped = is_tripped
        self._serving = serving
        self._fetcher = fetcher

    # Hits, without a coroutine

    def handle(self, request: Request) -> ResponseOrAwaitable:
        """The handler of the layer."""
        method, headers = request.method, request.headers
        if method not in _READ:
            return self.bypass(request, METHOD) if method in _SAFE else self.invalidate(request)
        if (
            CACHE_CONTROL in headers
            or IF_NONE_MATCH in headers
            or IF_MODIFIED_SINCE in headers
            or RANGE in headers
            or PRAGMA in headers
            or IF_MATCH in headers
            or IF_UNMODIFIED_SINCE in headers
        ):
            return self.handle_conditional(request)
        key = self._key(request)
        variants = self._get(key)
        # The generation: another worker may have replaced or purged it.
        if variants is not None and self._generations[variants.slot] == variants.generation:
            stored = variants.only or variants.find(headers)
            if stored is not None and (now := self._clock()) < stored.fresh_until:
                variants.was_used = True
                self._stats.hit += 1
                if now < stored.hit_until:
                    return stored.hit_response
                self._cache.mark_used(key)
                return stored.hit(now)
        return self._look_up(request, key, NO_DIRECTIVES)

    def _key(self, request: Request) -> str:
        key = f"{request.path}?{request.query}" if request.query else request.path
        headers = request.headers
        for name in self._key_fields:
            key = f"{key}\n{headers.get(name, '').lower()}"
        return key

    def handle_conditional(self, request: Request) -> ResponseOrAwaitable:
        """Handle a request with conditions or directives for caches."""
        headers = request.headers
        if IF_MATCH in headers or IF_UNMODIFIED_SINCE in headers:
            return self.bypass(request, BYPASS)
        directives = request_directives(field_values(headers, CACHE_CONTROL), headers.get(PRAGMA))
        return self._look_up(request, self._key(request), directives)

    def _look_up(self, request: Request, key: str, directives: RequestDirectives) -> ResponseOrAwaitable:
        if request.body or request.stream is not None or hides_fields(request.headers):
            return self.bypass(request, BYPASS)
        now = self._clock()
        stored, reason = self._fetcher.find(key, request.headers)
        if stored is not None:
            use = reuse(stored.freshness, stored.age_s(now), directives)
            response = self._serve(request, key, stored, use, now)
            if response is not None:
                return response
            reason = STALE if use is Reuse.EXPIRED else REQUEST
        if directives.only_if_cached:
            # RFC 9111, 5.2.1.7
            return problems.response(problems.GATEWAY_TIMEOUT, request.id, _ONLY_IF_CACHED)
        if RANGE in request.headers and request.method == "GET":
            # The origin knows better which part of a long body to send than a cache that would read all of it.
            return self.bypass(request, reason)
        if request.method == "HEAD" and stored is not None and not directives.no_store:
            self._stats.bypass += 1
            return self._fetcher.head(Wanted(request, key, directives, stored, reason))
        if directives.no_store or request.method == "HEAD":
            return self.bypass(request, reason)
        if self._cache.uncacheable.is_uncacheable(key, now, is_personal=is_personal(request.headers)):
            return self._refetch(request, key, directives, stored, reason)
        return self._fetcher.fetch(Wanted(request, key, directives, stored, reason))

    def _refetch(
        self, request: Request, key: str, directives: RequestDirectives, stored: StoredResponse | None, reason: bytes
    ) -> ResponseOrAwaitable:
        """Request what could not be stored the last time. It is stored if it can be now: one request decides for no other.

        Conditions are the client's own business with an origin whose responses are not stored.
        """
        if stored is None and has_conditions(request.headers):
            return self.bypass(request, reason)
        return self._fetcher.fetch_unstored(Wanted(request, key, directives, stored, reason))

    def _serve(self, request: Request, key: str, stored: StoredResponse, use: Reuse, now: float) -> Response | None:
        """The stored response, fresh or stale, without waiting for the origin; None if it must be fetched."""
        serving = self._serving
        if use is Reuse.FRESH:
            return serving.serve(request, stored, now)
        ttl = stored.ttl_s(now)
        if use is Reuse.STALE or use is Reuse.STALE_WHILE_REVALIDATE:
            if use is Reuse.STALE_WHILE_REVALIDATE:
                self._fetcher.refresh_in_background(request, key, stored, now)
            self._stats.stale += 1
            return serving.serve_with(request, stored, now, b"hit; ttl=%d" % ttl)
        if not stale_if_error(stored.freshness, stored.age_s(now)):
            return None
        if self._is_tripped():
            return serving.stale_if_error(request, stored, b"hit; ttl=%d; detail=tripped" % ttl)
        if stored.is_failing and use is Reuse.EXPIRED:
            # No client waits for another error, nor for a probe of the breaker: it is made in the background.
            self._fetcher.refresh_in_background(request, key, stored, now)
            return serving.stale_if_error(request, stored, b"hit; ttl=%d; detail=failing" % ttl)
        return None

    # Around the cache

    def bypass(self, request: Request, reason: bytes) -> ResponseOrAwaitable:
        """Call the handler; its response is not stored."""
        self._stats.bypass += 1
        response = self._handler(request)
        if isinstance(response, Response):
            return forwarded(request, response, reason)
        return self._bypass(request, response, reason)

    async def _bypass(self, request: Request, response: Coroutine[Any, Any, Response], reason: bytes) -> Response:
        return forwarded(request, await response, reason)

    def invalidate(self, request: Request) -> ResponseOrAwaitable:
        """Call the handler for an unsafe request; if it succeeds, invalidate its addresses (RFC 9111, 4.4)."""
        response = self._handler(request)
        if isinstance(response, Response):
            return self._invalidated(request, response)
        return self._invalidate(request, response)

    async def _invalidate(self, request: Request, response: Coroutine[Any, Any, Response]) -> Response:
        return self._invalidated(request, await response)

    def _invalidated(self, request: Request, response: Response) -> Response:
        return contained(self._invalidate_addresses, request, response, "the invalidation of cached responses")

    def _invalidate_addresses(self, request: Request, response: Response) -> Response:
        if 200 <= response.status < 400:
            self._cache.invalidate(self._key(request), changed_addresses(request, response))
        return forwarded(request, response, METHOD)
