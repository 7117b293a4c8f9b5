"""Requests to the origin: validation of a stored response, and storing of a new one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from multidict import CIMultiDict

from gateway.cache.cache import Positions, ResponseCache
from gateway.cache.cache_status import forwarded
from gateway.cache.freshness import stale_if_error
from gateway.cache.header_block import NOT_SENT, dated, only_fields, parse_fields, tags_of, updated, without_fields
from gateway.cache.header_block import NOT_STORED as FIELDS_NOT_STORED
from gateway.cache.memory_tier import MAX_VARY_NAMES
from gateway.cache.model import Exchange, Fields, Freshness, RequestDirectives
from gateway.cache.recorded_response import RecordedResponse
from gateway.cache.recording import BROKEN, COMPLETE, drain
from gateway.cache.request_fields import (
    COOKIE,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    has_conditions,
    has_credentials,
    is_personal,
)
from gateway.cache.serving import Serving, can_be_not_modified
from gateway.cache.single_flight import FAILED, NOT_STORED, RECORDING, STORED, FlightKey
from gateway.cache.storability import describes_resource, storable
from gateway.cache.stored_response import StoredResponse
from gateway.cache.validation import validators, validators_match
from gateway.cache.variants import vary_names
from gateway.http.message import Handler, Request, Response, StreamedResponse, resolve

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


_OK: Final = 200
# Of a stored response whose 304 forbids that it is stored again.
_USED_ONCE: Final = Freshness(0.0, 0.0, never_stale=True)


class Wanted:
    """A request whose response must be fetched: its key, the stored response that cannot be used, and the reason."""

    __slots__ = (
        "claimed",
        "directives",
        "flight_key",
        "in_background",
        "key",
        "positions",
        "reason",
        "recorded",
        "request",
        "requested_at",
        "stored",
        "token",
        "was_uncacheable",
    )

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
        self.positions: Positions = (0, 0, 0, 0)
        # The last response could not be stored, so this one may be too long as well.
        self.was_uncacheable = False
        # Until the response was received: the response, its flight, and the claim of its fetch.
        self.recorded: RecordedResponse | None = None
        self.flight_key: FlightKey | None = None
        self.claimed = 0
        self.token = -1


class Origin:
    """The handler behind the cache."""

    __slots__ = ("_cache", "_clock", "_handler", "_on_recorded", "_serving", "_stats")

    def __init__(
        self, cache: ResponseCache, handler: Handler, serving: Serving, on_recorded: Callable[[Wanted], None]
    ) -> None:
        self._cache = cache
        self._stats = cache.stats
        self._clock = cache.clock
        self._handler = handler
        # Called at the end of each recording.
        self._on_recorded = on_recorded
        self._serving = serving

    async def request(self, wanted: Wanted, stored: StoredResponse | None) -> tuple[int, Response]:
        """Request from the origin, with the validators of `stored`, and store the response."""
        request = wanted.request
        sent = request_to_origin(request, stored)
        extra_before = len(sent.extra_headers)
        wanted.requested_at = self._clock()
        response = await resolve(self._handler(sent))
        request.extra_headers, request.upstream_call = sent.extra_headers, sent.upstream_call
        if response.status == 304 and stored is not None and has_conditions(sent.headers):
            if validators_match(validators(parse_fields(response.header_block)), stored.validators):
                return STORED, self._revalidated(wanted, stored, response)
            # A 304 for another response than the stored one: the whole is requested.
            return await self.request(wanted, None)
        return self._received(wanted, response, is_degraded=b"Degraded: " in sent.extra_headers[extra_before:])

    async def head(self, wanted: Wanted) -> Response:
        """The response to HEAD, which updates the stored response to GET, or makes it stale (RFC 9111, 4.3.5)."""
        request, stored = wanted.request, wanted.stored
        wanted.requested_at = self._clock()
        wanted.positions = self._cache.positions(wanted.key)
        response = await resolve(self._handler(request))
        if stored is not None and response.status == stored.status == _OK and not is_personal(request.headers):
            self._update_by_head(wanted, stored, response)
        return forwarded(request, response, wanted.reason)

    def _update_by_head(self, wanted: Wanted, stored: StoredResponse, response: Response) -> None:
        fields = parse_fields(response.header_block)
        freshness = self._freshness(wanted, response.status, fields)
        if freshness is None:
            # It says nothing of responses that may be stored.
            return
        length = response.length if isinstance(response, StreamedResponse) else len(response.body) or None
        is_same = validators_match(validators(fields), stored.validators) and length in {None, len(stored.body)}
        if is_same:
            self._updated(wanted, stored, response)
        else:
            self._cache.expire(wanted.key, wanted.request.headers, stored)

    def _received(self, wanted: Wanted, response: Response, *, is_degraded: bool) -> tuple[int, Response]:
        """Store a new response if it may be stored. The response of a fallback is not.

        A failure is returned as it is, because a stored response may be served in its place.
        """
        request = wanted.request
        self._stats.miss += 1
        if is_degraded or (not describes_resource(response.status) and self._is_stored_better(wanted)):
            if response.status >= 500:
                return FAILED, response
            return NOT_STORED, forwarded(request, response, wanted.reason)
        fields = parse_fields(response.header_block)
        if isinstance(response, StreamedResponse):
            recorded = self._record(wanted, response, fields)
            if recorded is not None:
                return RECORDING, recorded
        stored = self._store(wanted, response, fields, tags_of(fields))
        if stored is None and response.status >= 500:
            return FAILED, response
        if stored is None:
            return NOT_STORED, forwarded(request, response, wanted.reason)
        if can_be_not_modified(request, stored):
            status = b"fwd=%b; fwd-status=%d; stored" % (wanted.reason, response.status)
            return STORED, self._serving.serve_with(request, stored, self._clock(), status)
        return STORED, forwarded(request, response, wanted.reason, is_stored=True)

    def _record(self, wanted: Wanted, response: StreamedResponse, fields: Fields) -> Response | None:
        """Pass a streamed response on while it is received, to be stored at its end; None if it may not be stored."""
        freshness = self._freshness(wanted, response.status, fields)
        names = vary_names(fields)
        if freshness is None or len(names) > MAX_VARY_NAMES:
            return None
        stored = self._stored_response(response, fields, freshness, tags_of(fields))
        on_end = partial(self._recorded, wanted, names, stored)
        begun = self._cache.record(response, on_end, may_be_long=not wanted.was_uncacheable)
        if begun is None:
            return None
        recording, reader = begun
        request = wanted.request
        wanted.recorded = RecordedResponse(recording, stored, names, request.headers, wanted.positions)
        if can_be_not_modified(request, stored):
            # No client reads it.
            if not self._cache.in_background(drain(reader)):
                recording.leave(reader)
            status = b"fwd=%b; fwd-status=%d; stored" % (wanted.reason, response.status)
            return self._serving.serve_with(request, stored, self._clock(), status)
        streamed = StreamedResponse(
            response.status,
            reader,
            header_block=response.header_block,
            content_type=response.content_type,
            length=response.length,
        )
        return forwarded(request, streamed, wanted.reason, is_stored=True)

    def _recorded(
        self, wanted: Wanted, names: tuple[str, ...], stored: StoredResponse, outcome: int, body: bytes
    ) -> None:
        """A recording has ended: store the response if it is complete."""
        if outcome == COMPLETE:
            self._cache.put(wanted.key, names, wanted.request.headers, stored.with_body(body), since=wanted.positions)
        elif outcome != BROKEN:
            self._not_stored(wanted)
        self._on_recorded(wanted)

    def _is_stored_better(self, wanted: Wanted) -> bool:
        """Whether a stored response is worth more than an error, because it may still be served.

        One bad request, or one that refuses the fresh response, would have its error served to all.
        """
        stored, now = wanted.stored, self._clock()
        if stored is None or not describes_resource(stored.status):
            return False
        return wanted.in_background or now < stored.fresh_until or stale_if_error(stored.freshness, stored.age_s(now))

    def _revalidated(self, wanted: Wanted, stored: StoredResponse, response: Response) -> Response:
        """The origin confirmed the stored response with a 304, which updates its header block (RFC 9111, 4.3.4)."""
        self._stats.revalidated += 1
        renewed = self._updated(wanted, stored, response)
        now = self._clock()
        status = b"fwd=%b; fwd-status=304; ttl=%d" % (wanted.reason, renewed.ttl_s(now))
        return self._serving.serve_with(wanted.request, renewed, now, status)

    def _updated(self, wanted: Wanted, stored: StoredResponse, response: Response) -> StoredResponse:
        """The stored response with the fields of `response`, stored anew if they allow it."""
        block = updated(stored.unsent + stored.header_block, response.header_block)
        content_type = response.content_type or stored.content_type
        whole = Response(stored.status, stored.body, header_block=block, content_type=content_type)
        fields = parse_fields(block)
        return self._store(wanted, whole, fields, tags_of(fields)) or self._stored_response(
            whole, fields, _USED_ONCE, stored.tags
        )

    def _store(self, wanted: Wanted, response: Response, fields: Fields, tags: frozenset[str]) -> StoredResponse | None:
        """The response as it was stored; None if it may not be stored, or is not."""
        cache, headers = self._cache, wanted.request.headers
        freshness = self._freshness(wanted, response.status, fields)
        names = vary_names(fields)
        is_streamed = isinstance(response, StreamedResponse)
        if freshness is None or is_streamed or not cache.fits(names, len(response.body)):
            if describes_resource(response.status):
                self._not_stored(wanted)
            return None
        stored = self._stored_response(response, fields, freshness, tags)
        return stored if cache.put(wanted.key, names, headers, stored, since=wanted.positions) else None

    def _freshness(self, wanted: Wanted, status: int, fields: Fields) -> Freshness | None:
        """The freshness with which a response is stored; None if it may not be."""
        headers = wanted.request.headers
        exchange = Exchange(
            delay_s=self._clock() - wanted.requested_at,
            received_at=self._cache.now(),
            has_credentials=has_credentials(headers),
            has_cookies=COOKIE in headers,
        )
        freshness = storable(status, fields, exchange, self._cache.defaults)
        return freshness if _REWRITTEN.isdisjoint(vary_names(fields)) else None

    def _stored_response(
        self, response: Response, fields: Fields, freshness: Freshness, tags: frozenset[str]
    ) -> StoredResponse:
        block = dated(response.header_block, fields, self._cache.now())
        unsent = b""
        if not FIELDS_NOT_STORED.isdisjoint(fields):
            unsent = only_fields(block, NOT_SENT)
            block = without_fields(block, FIELDS_NOT_STORED)
        return StoredResponse(
            response.status,
            response.body,
            header_block=block,
            content_type=response.content_type,
            freshness=freshness,
            validators=validators(fields),
            born_at=self._clock() - freshness.age_s,
            tags=tags,
            unsent=unsent,
        )

    def _not_stored(self, wanted: Wanted) -> None:
        """Requests for it need not wait for each other; the stale response that it outdates is removed.

        Nothing else is: a client that sends odd fields, or refuses a fresh response, changes nothing for the others.
        """
        headers, stored = wanted.request.headers, wanted.stored
        is_for_all = not is_personal(headers)
        self._cache.set_uncacheable(wanted.key, is_personal=not is_for_all)
        if is_for_all and stored is not None and self._clock() >= stored.fresh_until:
            self._cache.remove_variant(wanted.key, headers)


def request_to_origin(request: Request, stored: StoredResponse | None) -> Request:
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
