"""Fetch a response that is not stored or is stale: single flight, validation, storing, refreshes in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from multidict import CIMultiDict

from gateway.cache.cache import ResponseCache
from gateway.cache.cache_status import REQUEST as EXCLUDED_BY_REQUEST
from gateway.cache.cache_status import STALE, URI_MISS, VARY_MISS, forwarded
from gateway.cache.freshness import reuse, stale_if_error
from gateway.cache.header_block import NOT_STORED as FIELDS_NOT_STORED
from gateway.cache.header_block import parse_fields, tags_of, updated, without_fields
from gateway.cache.model import NO_DIRECTIVES, Exchange, Fields, RequestDirectives, Reuse
from gateway.cache.request_fields import (
    COOKIE,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    has_conditions,
    has_credentials,
    is_personal,
)
from gateway.cache.serving import Serving, can_be_not_modified
from gateway.cache.single_flight import ABANDONED, FAILED, NOT_STORED, STORED, Flight, FlightKey
from gateway.cache.storability import describes_resource, storable
from gateway.cache.stored_response import StoredResponse
from gateway.cache.validation import validators, validators_match
from gateway.cache.variants import selection, vary_names
from gateway.http import problems
from gateway.http.message import Handler, Request, Response, StreamedResponse, resolve

# RFC 5861, 4: the errors in whose place a stale response may be served.
ERRORS: Final = frozenset({500, 502, 503, 504})
# How long after a failed refresh the next one may begin.
REFRESH_RETRY_S: Final = 1.0
# Forwarding writes these anew, so a response that varies by one of them varies by something not seen here.
_REWRITTEN: Final = frozenset(
    {
        "forwarded",
        "request-timeout-ms",
        "traceparent",
        "tracestate",
        "via",
        "x-forwarded-for",
        "x-real-ip",
        "x-request-id",
    }
)


class Wanted:
    """A request whose response must be fetched: its key, the stored response that cannot be used, and the reason."""

    __slots__ = ("directives", "in_background", "key", "positions", "reason", "request", "requested_at", "stored")

    def __init__(
        self,
        request: Request,
        key: str,
        directives: RequestDirectives,
        stored: StoredResponse | None,
        reason: bytes,
        *,
        in_background: bool = False,
    ) -> None:
        self.request = request
        self.key = key
        self.directives = directives
        self.stored = stored
        self.reason = reason
        # No client waits for it, so no error has to be replaced.
        self.in_background = in_background
        # When the origin was asked, and the positions of purges then.
        self.requested_at = 0.0
        self.positions = (0, 0)


class Fetcher:
    """Fetches from one handler, the origin."""

    __slots__ = (
        "_cache",
        "_clock",
        "_flights",
        "_handler",
        "_is_tripped",
        "_memory",
        "_serving",
        "_stats",
        "_validates",
    )

    def __init__(
        self,
        cache: ResponseCache,
        handler: Handler,
        serving: Serving,
        is_tripped: Callable[[], bool],
        *,
        validates: bool,
    ) -> None:
        self._cache = cache
        self._memory = cache.memory
        self._stats = cache.stats
        self._clock = cache.clock
        self._handler = handler
        self._serving = serving
        self._is_tripped = is_tripped
        self._validates = validates
        self._flights: dict[FlightKey, Flight] = {}

    async def fetch(self, wanted: Wanted) -> Response:
        """Fetch, or wait for the request that fetches the same."""
        request, key = wanted.request, wanted.key
        while True:
            flight_key = self._flight_key(key, request.headers)
            flight = self._flights.get(flight_key)
            if flight is None:
                return await self._lead(flight_key, wanted)
            end = await flight.join()
            response = self._after_flight(wanted, end)
            if response is not None:
                return response
            if end != ABANDONED and self._flight_key(key, request.headers) == flight_key:
                # Waiting did not help and would not help the next one either: each request fetches for itself.
                return (await self._fetch_alone(wanted))[1]

    def _after_flight(self, wanted: Wanted, end: int) -> Response | None:
        """The response to a follower from the stored response, if that can be used."""
        request, now = wanted.request, self._clock()
        stored, _ = self.find(wanted.key, request.headers)
        if stored is None:
            return None
        wanted.stored = stored
        # A request that excluded the former stored response accepts the one that the flight has stored.
        is_accepted = end == STORED or wanted.reason is not EXCLUDED_BY_REQUEST
        if now < stored.fresh_until and is_accepted:
            self._stats.collapsed += 1
            status = b"fwd=%b; collapsed; ttl=%d" % (wanted.reason, stored.ttl_s(now))
            return self._serving.serve_with(request, stored, now, status)
        if end == FAILED and stale_if_error(stored.freshness, stored.age_s(now)):
            return self._serving.stale_if_error(request, stored, b"fwd=stale; collapsed; ttl=%d" % stored.ttl_s(now))
        return None

    def find(self, key: str, headers: Mapping[str, str]) -> tuple[StoredResponse | None, bytes]:
        """The stored response that a request selects, and the reason why it must be forwarded otherwise."""
        variants = self._memory.get(key)
        if variants is None:
            return None, URI_MISS
        stored = variants.find(headers)
        if stored is None:
            return None, VARY_MISS
        variants.was_used = True
        return stored, STALE

    def _flight_key(self, key: str, headers: Mapping[str, str]) -> FlightKey:
        variants = self._memory.get(key)
        return key, selection(variants.names, headers) if variants is not None else ()

    async def _lead(self, flight_key: FlightKey, wanted: Wanted) -> Response:
        flight = self._flights[flight_key] = Flight()
        end = ABANDONED
        try:
            end, response = await self._fetch_alone(wanted)
        except Exception:
            end = FAILED
            raise
        finally:
            del self._flights[flight_key]
            flight.land(end)
        return response

    async def _fetch_alone(self, wanted: Wanted) -> tuple[int, Response]:
        """The response of the second tier, else of the origin; a stale one in place of an error."""
        request, cache = wanted.request, self._cache
        wanted.positions = cache.positions()
        loaded = await cache.load(wanted.key, request.headers)
        if loaded is not None:
            wanted.stored = loaded
            now = self._clock()
            if reuse(loaded.freshness, loaded.age_s(now), wanted.directives) is Reuse.FRESH:
                self._stats.hit += 1
                status = b"hit; ttl=%d; detail=shared" % loaded.ttl_s(now)
                return STORED, self._serving.serve_with(request, loaded, now, status)
        try:
            end, response = await self._request(wanted, wanted.stored if self._validates else None)
        except Exception as error:
            stored = self._in_place_of_error(wanted)
            if stored is None or not _is_server_error(error):
                raise
            status = b"fwd=stale; ttl=%d" % stored.ttl_s(self._clock())
            return FAILED, self._serving.stale_if_error(request, stored, status)
        if response.status in ERRORS and (stored := self._in_place_of_error(wanted)) is not None:
            await _discard(response)
            status = b"fwd=stale; fwd-status=%d; ttl=%d" % (response.status, stored.ttl_s(self._clock()))
            return FAILED, self._serving.stale_if_error(request, stored, status)
        return end, response

    def _in_place_of_error(self, wanted: Wanted) -> StoredResponse | None:
        stored, now = wanted.stored, self._clock()
        if stored is None or wanted.in_background or not stale_if_error(stored.freshness, stored.age_s(now)):
            return None
        stored.is_failing = True
        stored.refresh_after = now + REFRESH_RETRY_S
        return stored

    async def _request(self, wanted: Wanted, stored: StoredResponse | None) -> tuple[int, Response]:
        """Request from the origin, with the validators of `stored`, and store the response."""
        request = wanted.request
        sent = _request_to_origin(request, stored)
        extra_before = len(sent.extra_headers)
        wanted.requested_at = self._clock()
        response = await resolve(self._handler(sent))
        request.extra_headers = sent.extra_headers
        if response.status == 304 and stored is not None and has_conditions(sent.headers):
            if validators_match(validators(parse_fields(response.header_block)), stored.validators):
                return STORED, self._revalidated(wanted, stored, response)
            # A 304 for another response than the stored one: the whole is requested.
            return await self._request(wanted, None)
        return self._received(wanted, response, is_degraded=b"Degraded: " in sent.extra_headers[extra_before:])

    def _received(self, wanted: Wanted, response: Response, *, is_degraded: bool) -> tuple[int, Response]:
        """Store a new response if it may be stored. The response of a fallback is not."""
        request = wanted.request
        self._stats.miss += 1
        if response.status >= 500:
            return FAILED, forwarded(request, response, wanted.reason)
        if is_degraded:
            return NOT_STORED, forwarded(request, response, wanted.reason)
        fields = parse_fields(response.header_block)
        stored = self._store(wanted, response, fields, tags_of(fields))
        if stored is None:
            return NOT_STORED, forwarded(request, response, wanted.reason)
        if can_be_not_modified(request, stored):
            status = b"fwd=%b; fwd-status=%d; stored" % (wanted.reason, response.status)
            return STORED, self._serving.serve_with(request, stored, self._clock(), status)
        return STORED, forwarded(request, response, wanted.reason, is_stored=True)

    def _revalidated(self, wanted: Wanted, stored: StoredResponse, response: Response) -> Response:
        """The origin confirmed the stored response with a 304, which updates its header block (RFC 9111, 4.3.4)."""
        self._stats.revalidated += 1
        block = updated(stored.header_block, response.header_block)
        whole = Response(stored.status, stored.body, header_block=block, content_type=stored.content_type)
        fields = parse_fields(block)
        renewed = self._store(wanted, whole, fields, tags_of(fields) or stored.tags) or stored
        now = self._clock()
        status = b"fwd=%b; fwd-status=304; ttl=%d" % (wanted.reason, renewed.ttl_s(now))
        return self._serving.serve_with(wanted.request, renewed, now, status)

    def _store(self, wanted: Wanted, response: Response, fields: Fields, tags: frozenset[str]) -> StoredResponse | None:
        """The response as it was stored; None if it may not be stored, or is not."""
        cache, headers = self._cache, wanted.request.headers
        now = self._clock()
        exchange = Exchange(
            delay_s=now - wanted.requested_at,
            received_at=cache.now(),
            has_credentials=has_credentials(headers),
            has_cookies=COOKIE in headers,
        )
        freshness = storable(response.status, fields, exchange, cache.defaults)
        names = vary_names(fields)
        if freshness is None or not _REWRITTEN.isdisjoint(names) or isinstance(response, StreamedResponse):
            if describes_resource(response.status):
                cache.set_uncacheable(wanted.key, is_personal=is_personal(headers))
            return None
        block = response.header_block
        stored = StoredResponse(
            response.status,
            response.body,
            header_block=block if FIELDS_NOT_STORED.isdisjoint(fields) else without_fields(block, FIELDS_NOT_STORED),
            content_type=response.content_type,
            freshness=freshness,
            validators=validators(fields),
            born_at=now - freshness.age_s,
            tags=tags,
        )
        return stored if cache.put(wanted.key, names, headers, stored, since=wanted.positions) else None

    # In the background

    def refresh_in_background(self, request: Request, key: str, stored: StoredResponse, now: float) -> None:
        """Fetch while the stale response is served (RFC 5861, 3): once at a time, and not while it cannot succeed."""
        flight_key = self._flight_key(key, request.headers)
        if flight_key in self._flights or now < stored.refresh_after or self._is_tripped():
            return
        sent = _request_to_origin(request.with_headers(request.headers), None)
        sent.method = "GET"
        stored.refresh_after = now + REFRESH_RETRY_S
        wanted = Wanted(sent, key, NO_DIRECTIVES, stored, STALE, in_background=True)
        if self._cache.in_background(self._refresh(flight_key, wanted)):
            self._stats.refreshed_in_background += 1

    async def _refresh(self, flight_key: FlightKey, wanted: Wanted) -> None:
        if flight_key in self._flights:
            return
        try:
            response = await self._lead(flight_key, wanted)
            await _discard(response)
            has_failed = response.status >= 500
        except Exception:  # noqa: BLE001 - no client waits for it; the next request that needs it gets the error
            has_failed = True
        if has_failed:
            self._stats.refresh_failed += 1


def _request_to_origin(request: Request, stored: StoredResponse | None) -> Request:
    """The request with the conditions that validate `stored` in place of the client's own, which the cache evaluates."""
    known = stored.validators if stored is not None else None
    has_validator = known is not None and (known.etag or known.last_modified)
    if not has_validator and not has_conditions(request.headers):
        return request
    headers = CIMultiDict(request.headers)
    headers.popall(IF_NONE_MATCH, None)
    headers.popall(IF_MODIFIED_SINCE, None)
    if known is not None and known.etag:
        headers[IF_NONE_MATCH] = known.etag
    if known is not None and known.last_modified:
        headers[IF_MODIFIED_SINCE] = known.last_modified
    return request.with_headers(headers)


async def _discard(response: Response) -> None:
    if isinstance(response, StreamedResponse):
        await response.chunks.aclose()


def _is_server_error(error: Exception) -> bool:
    """Whether the client would get a 5xx for it, and not a refusal."""
    problem = problems.of_error(error)
    return problem is None or problem.status >= 500
