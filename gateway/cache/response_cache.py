"""Answer from what is kept, and keep what may be kept: a shared cache (RFC 9111) in front of a handler.

A hit is answered at once, without a coroutine. Requests for the same that come while one is being fetched wait for that one
(single flight). What nobody may keep passes through as it is; so does what is streamed, and `Range` requests.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Final
from urllib.parse import urljoin, urlsplit

from multidict import CIMultiDict, istr

from gateway.cache.cache import ResponseCache
from gateway.cache.freshness import (
    ERRORS,
    NOTHING_ASKED,
    SAFE,
    Arrival,
    Asked,
    Fields,
    Use,
    asked,
    is_not_modified,
    may_stand_in,
    speaks_of,
    tells_of_resource,
    terms,
    use,
    validators,
    varies_by,
)
from gateway.cache.stored_response import (
    NOT_SHOWN,
    NOT_STORED,
    Entry,
    Selection,
    fields_of,
    lines_updated,
    lines_without,
    selection,
    tags_of,
)
from gateway.http import problems
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, StreamedResponse, resolve

# After a refresh behind an answer has failed, the next one waits so long.
REFRESH_AGAIN_S: Final = 1.0

# `istr`: their hashes are made once, which halves the look at the headers of every hit.
_RANGE: Final = istr("Range")
_CACHE_CONTROL: Final = istr("Cache-Control")
_PRAGMA: Final = istr("Pragma")
_IF_NONE_MATCH: Final = istr("If-None-Match")
_IF_MODIFIED_SINCE: Final = istr("If-Modified-Since")
_IF_MATCH: Final = istr("If-Match")
_IF_UNMODIFIED_SINCE: Final = istr("If-Unmodified-Since")
_CONDITIONS: Final = (_IF_NONE_MATCH, _IF_MODIFIED_SINCE)
# What forwarding writes anew: whoever varies by it answers to something that is not seen here.
_REWRITTEN: Final = frozenset(
    {
        "forwarded",
        "traceparent",
        "tracestate",
        "via",
        "x-forwarded-for",
        "x-real-ip",
        "x-request-id",
        "request-timeout-ms",
    }
)
_COOKIE: Final = istr("Cookie")
_CREDENTIALS: Final = (istr("Authorization"), istr("X-Api-Key"))


def response_cache(
    cache: ResponseCache,
    *,
    key_fields: Sequence[str] = ("Host",),
    is_tripped: Callable[[], bool] = lambda: False,
    mark: Callable[[Request, str], None] = lambda _request, _what: None,
    degraded: str = "cache",
    validates: bool = True,
) -> Layer:
    """Put the cache in front of a handler of any methods. Nothing at all when the cache is off.

    `key_fields` are request fields that are part of the address, the host first: all that the handler's answers depend on
    without saying so in `Vary` (`("Host", "X-Forwarded-Proto")` where both are passed on; none for a handler of our own).
    While `is_tripped` says that there is no use in trying, what is stale is served at once; it must say False when a probe
    is due (`Breaker.is_rejecting`). `mark` is told of each answer that stands in for an error, by the name `degraded`.
    Without `validates` what is stale is fetched as a whole: a handler of our own has it at hand, and a 304 costs more.
    """
    if not cache.is_on:
        return lambda handler: handler

    def layer(handler: Handler) -> Handler:
        return _Front(cache, handler, key_fields, is_tripped, mark, degraded, validates=validates).answer

    return layer


class _Why(Enum):
    """Why a request is forwarded (RFC 9211, 2.2)."""

    BYPASS = b"bypass"
    METHOD = b"method"
    URI_MISS = b"uri-miss"
    VARY_MISS = b"vary-miss"
    STALE = b"stale"
    REQUEST = b"request"


class _Ending(Enum):
    """How a flight ended."""

    KEPT = "kept"
    NOT_KEPT = "not kept"
    FAILED = "failed"
    # Whoever led it was cancelled: another one leads.
    ABANDONED = "abandoned"


class _Flight:
    """One fetch that others wait for. Each waits on a future of its own, so that giving up is everyone's own affair."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[_Ending]] = []

    def joined(self) -> asyncio.Future[_Ending]:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        return waiting

    def land(self, ending: _Ending) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(ending)


class _Wanted:
    """A request that may be answered from the cache, as it is looked at: its key, what is there, and why that will not do."""

    __slots__ = ("asked", "began_at", "entry", "is_behind", "key", "request", "since", "why")

    def __init__(
        self, request: Request, key: str, wanted: Asked, entry: Entry | None, why: _Why, *, is_behind: bool = False
    ) -> None:
        self.request = request
        self.key = key
        self.asked = wanted
        self.entry = entry
        self.why = why
        # Nobody waits for it, so nothing need stand in for an error.
        self.is_behind = is_behind
        # When the handler was asked, and where purges stood then.
        self.began_at = 0.0
        self.since = (0, 0)


_FlightKey = tuple[str, Selection]


class _Front:
    """The layer around one handler."""

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        cache: ResponseCache,
        handler: Handler,
        key_fields: Sequence[str],
        is_tripped: Callable[[], bool],
        mark: Callable[[Request, str], None],
        degraded: str,
        *,
        validates: bool,
    ) -> None:
        self._cache = cache
        self._counts = cache.counts
        self._clock = cache.clock
        self._peek = cache.peek
        self._handler = handler
        self._key_fields = tuple(map(istr, key_fields))
        self._is_tripped = is_tripped
        self._mark = mark
        self._degraded = degraded
        self._validates = validates
        self._flights: dict[_FlightKey, _Flight] = {}

    # At once

    def answer(self, request: Request) -> ResponseOrAwaitable:
        """The handler of the layer."""
        method, headers = request.method, request.headers
        if method not in _READING:
            return self._passed(request, _Why.METHOD) if method in SAFE else self._changing(request)
        if (
            _CACHE_CONTROL in headers
            or _IF_NONE_MATCH in headers
            or _IF_MODIFIED_SINCE in headers
            or _RANGE in headers
            or _PRAGMA in headers
            or _IF_MATCH in headers
            or _IF_UNMODIFIED_SINCE in headers
        ):
            return self._considered(request)
        key = self._key(request)
        resource = self._peek(key)
        if resource is not None:
            entry = resource.only or resource.find(headers)
            if entry is not None and (now := self._clock()) < entry.fresh_until:
                resource.was_used = True
                self._counts.hit += 1
                return entry.answer(now)
        return self._looked_up(request, key, NOTHING_ASKED)

    def _key(self, request: Request) -> str:
        target = f"{request.path}?{request.query}" if request.query else request.path
        for name in self._key_fields:
            target = f"{target}\n{request.headers.get(name, '').lower()}"
        return target

    def _considered(self, request: Request) -> ResponseOrAwaitable:
        """A request that asks for something particular."""
        headers = request.headers
        if _RANGE in headers or _IF_MATCH in headers or _IF_UNMODIFIED_SINCE in headers:
            return self._passed(request, _Why.BYPASS)
        wanted = asked(_values(headers, _CACHE_CONTROL), headers.get(_PRAGMA))
        return self._looked_up(request, self._key(request), wanted)

    def _looked_up(self, request: Request, key: str, wanted: Asked) -> ResponseOrAwaitable:
        if request.body or request.stream is not None or _hides_fields(request.headers):
            return self._passed(request, _Why.BYPASS)
        now = self._clock()
        entry, why = self._find(key, request.headers)
        if entry is not None:
            verdict = use(entry.terms, entry.age(now), wanted)
            if verdict is Use.FRESH:
                return self._shown(request, entry, now)
            if verdict in {Use.STALE, Use.REFRESHED_BEHIND}:
                if verdict is Use.REFRESHED_BEHIND:
                    self._refresh_behind(request, key, entry, now)
                self._counts.stale += 1
                return self._shown_as(request, entry, now, b"hit; ttl=%d" % entry.ttl(now))
            why = _Why.STALE if verdict is Use.EXPIRED else _Why.REQUEST
            if may_stand_in(entry.terms, entry.age(now)):
                if self._is_tripped():
                    return self._standing_in(request, entry, b"hit; ttl=%d; detail=tripped" % entry.ttl(now))
                if entry.is_failing and why is _Why.STALE:
                    # Nobody waits for an error again, nor for a breaker's probe: that is made behind.
                    self._refresh_behind(request, key, entry, now)
                    return self._standing_in(request, entry, b"hit; ttl=%d; detail=failing" % entry.ttl(now))
        if wanted.only_if_cached:
            # RFC 9111, 5.2.1.7
            return problems.response(problems.GATEWAY_TIMEOUT, request.id)
        if wanted.no_store or request.method == "HEAD":
            return self._passed(request, why)
        if self._cache.is_uncacheable(key, is_personal=_is_personal(request.headers)):
            return self._passed(request, why)
        return self._fetched(_Wanted(request, key, wanted, entry, why))

    def _find(self, key: str, headers: Mapping[str, str]) -> tuple[Entry | None, _Why]:
        resource = self._peek(key)
        if resource is None:
            return None, _Why.URI_MISS
        entry = resource.find(headers)
        if entry is None:
            return None, _Why.VARY_MISS
        resource.was_used = True
        return entry, _Why.STALE

    def _shown(self, request: Request, entry: Entry, now: float) -> Response:
        """A hit: what is kept, or 304 where the shopper has that already."""
        if _is_known(request, entry):
            self._counts.not_modified += 1
            return entry.not_modified(now)
        self._counts.hit += 1
        return entry.answer(now)

    def _shown_as(self, request: Request, entry: Entry, now: float, outcome: bytes) -> Response:
        """The same with another `Cache-Status`."""
        if _is_known(request, entry):
            return entry.not_modified_as(outcome, now)
        return entry.answer_as(outcome, now)

    def _standing_in(self, request: Request, entry: Entry, outcome: bytes) -> Response:
        """What is kept in place of an error (RFC 5861, 4)."""
        self._counts.stale_if_error += 1
        self._mark(request, self._degraded)
        return self._shown_as(request, entry, self._clock(), outcome)

    # Passing through

    def _passed(self, request: Request, why: _Why) -> ResponseOrAwaitable:
        self._counts.bypass += 1
        outcome = self._handler(request)
        if isinstance(outcome, Response):
            return _passing(request, outcome, why)

        async def passed() -> Response:
            return _passing(request, await outcome, why)

        return passed()

    def _changing(self, request: Request) -> ResponseOrAwaitable:
        """An unsafe request: when it succeeds, what is kept of its address is void (RFC 9111, 4.4)."""
        outcome = self._handler(request)
        if isinstance(outcome, Response):
            return self._changed(request, outcome)

        async def changed() -> Response:
            return self._changed(request, await outcome)

        return changed()

    def _changed(self, request: Request, response: Response) -> Response:
        if 200 <= response.status < 400:
            self._cache.invalidate(self._key(request), _changed_addresses(request, response))
        return _passing(request, response, _Why.METHOD)

    # Fetching

    async def _fetched(self, wanted: _Wanted) -> Response:
        """Fetch, or wait for who fetches the same."""
        request, key = wanted.request, wanted.key
        while True:
            flight_key = self._flight_key(key, request.headers)
            flight = self._flights.get(flight_key)
            if flight is None:
                return await self._lead(flight_key, wanted)
            ending = await flight.joined()
            now = self._clock()
            entry, _ = self._find(key, request.headers)
            if entry is not None:
                wanted.entry = entry
                # Whoever will not have what was there already takes only what the flight brought.
                is_new = ending is _Ending.KEPT or wanted.why is not _Why.REQUEST
                if now < entry.fresh_until and is_new:
                    self._counts.collapsed += 1
                    outcome = b"fwd=%b; collapsed; ttl=%d" % (wanted.why.value, entry.ttl(now))
                    return self._shown_as(request, entry, now, outcome)
                if ending is _Ending.FAILED and may_stand_in(entry.terms, entry.age(now)):
                    return self._standing_in(request, entry, b"fwd=stale; collapsed; ttl=%d" % entry.ttl(now))
            if ending is not _Ending.ABANDONED and self._flight_key(key, request.headers) == flight_key:
                # Waiting has not helped, and would not help the next one either: everyone goes alone.
                return (await self._fetch(wanted))[1]

    def _flight_key(self, key: str, headers: Mapping[str, str]) -> _FlightKey:
        resource = self._peek(key)
        return key, selection(resource.names, headers) if resource is not None else ()

    async def _lead(self, flight_key: _FlightKey, wanted: _Wanted) -> Response:
        flight = self._flights[flight_key] = _Flight()
        ending = _Ending.ABANDONED
        try:
            ending, response = await self._fetch(wanted)
        except Exception:
            ending = _Ending.FAILED
            raise
        finally:
            del self._flights[flight_key]
            flight.land(ending)
        return response

    async def _fetch(self, wanted: _Wanted) -> tuple[_Ending, Response]:
        """What the second tier has, else what the handler answers; if that fails, what is stale may stand in."""
        request, cache = wanted.request, self._cache
        wanted.since = cache.fetching()
        loaded = await cache.load(wanted.key, request.headers)
        if loaded is not None:
            wanted.entry = loaded
            now = self._clock()
            if use(loaded.terms, loaded.age(now), wanted.asked) is Use.FRESH:
                self._counts.hit += 1
                return _Ending.KEPT, self._shown_as(
                    request, loaded, now, b"hit; ttl=%d; detail=shared" % loaded.ttl(now)
                )
        try:
            ending, response = await self._asked_for(wanted, wanted.entry if self._validates else None)
        except Exception as error:
            entry = self._stand_in(wanted)
            if entry is None or not _is_failure(error):
                raise
            return _Ending.FAILED, self._standing_in(request, entry, b"fwd=stale; ttl=%d" % entry.ttl(self._clock()))
        if response.status in ERRORS and (entry := self._stand_in(wanted)) is not None:
            await _discarded(response)
            outcome = b"fwd=stale; fwd-status=%d; ttl=%d" % (response.status, entry.ttl(self._clock()))
            return _Ending.FAILED, self._standing_in(request, entry, outcome)
        return ending, response

    def _stand_in(self, wanted: _Wanted) -> Entry | None:
        entry = wanted.entry
        now = self._clock()
        if entry is None or wanted.is_behind or not may_stand_in(entry.terms, entry.age(now)):
            return None
        entry.is_failing = True
        entry.refresh_after = now + REFRESH_AGAIN_S
        return entry

    async def _asked_for(self, wanted: _Wanted, entry: Entry | None) -> tuple[_Ending, Response]:
        """Ask the handler, with the validators of `entry`, and keep what comes."""
        request = wanted.request
        sent = _asking(request, entry)
        noted = len(sent.extra_headers)
        wanted.began_at = self._clock()
        response = await resolve(self._handler(sent))
        request.extra_headers = sent.extra_headers
        if response.status == 304 and entry is not None and _has_conditions(sent):
            if speaks_of(validators(fields_of(response.header_block)), entry.validators):
                return _Ending.KEPT, self._revalidated(wanted, entry, response)
            # It speaks of something that is not here: asked for as a whole.
            return await self._asked_for(wanted, None)
        return self._received(wanted, response, is_degraded=b"Degraded: " in sent.extra_headers[noted:])

    def _received(self, wanted: _Wanted, response: Response, *, is_degraded: bool) -> tuple[_Ending, Response]:
        """Keep a new answer if it may be kept. One that a fallback made is not."""
        request = wanted.request
        self._counts.miss += 1
        if response.status >= 500:
            return _Ending.FAILED, _passing(request, response, wanted.why)
        if is_degraded:
            return _Ending.NOT_KEPT, _passing(request, response, wanted.why)
        told = fields_of(response.header_block)
        entry = self._kept(wanted, response, told, tags_of(told))
        if entry is None:
            return _Ending.NOT_KEPT, _passing(request, response, wanted.why)
        if _is_known(request, entry):
            outcome = b"fwd=%b; fwd-status=%d; stored" % (wanted.why.value, response.status)
            return _Ending.KEPT, self._shown_as(request, entry, self._clock(), outcome)
        # As it came: its age is told where the origin told it.
        return _Ending.KEPT, _passing(request, response, wanted.why, b"; stored")

    def _revalidated(self, wanted: _Wanted, entry: Entry, response: Response) -> Response:
        """The origin says that what is kept is still right: its header is brought up to date (RFC 9111, 4.3.4)."""
        self._counts.revalidated += 1
        lines = lines_updated(entry.lines, response.header_block)
        whole = Response(entry.status, entry.body, header_block=lines, content_type=entry.content_type)
        told = fields_of(lines)
        renewed = self._kept(wanted, whole, told, tags_of(told) or entry.tags)
        now = self._clock()
        if renewed is None:
            renewed = entry
        outcome = b"fwd=%b; fwd-status=304; ttl=%d" % (wanted.why.value, renewed.ttl(now))
        return self._shown_as(wanted.request, renewed, now, outcome)

    def _kept(self, wanted: _Wanted, whole: Response, told: Fields, tags: frozenset[str]) -> Entry | None:
        """An answer with the fields `told` as an entry, if it may be kept and is."""
        cache, headers = self._cache, wanted.request.headers
        now = self._clock()
        arrival = Arrival(
            delay_s=now - wanted.began_at,
            at=cache.now(),
            has_credentials=_has_credentials(headers),
            has_cookies=_COOKIE in headers,
        )
        kept_on = terms(whole.status, told, arrival, cache.defaults)
        names = varies_by(told)
        if kept_on is None or not _REWRITTEN.isdisjoint(names) or isinstance(whole, StreamedResponse):
            if tells_of_resource(whole.status):
                cache.note_uncacheable(wanted.key, is_personal=_is_personal(headers))
            return None
        entry = Entry(
            whole.status,
            whole.body,
            # Its age and date are told anew each time.
            lines=whole.header_block if NOT_STORED.isdisjoint(told) else lines_without(whole.header_block, NOT_STORED),
            content_type=whole.content_type,
            terms=kept_on,
            validators=validators(told),
            born_at=now - kept_on.age_s,
            tags=tags,
        )
        return entry if cache.keep(wanted.key, names, headers, entry, since=wanted.since) else None

    # Behind an answer

    def _refresh_behind(self, request: Request, key: str, entry: Entry, now: float) -> None:
        """Fetch anew while what is stale is served (RFC 5861, 3): once at a time, and not while there is no use in it."""
        flight_key = self._flight_key(key, request.headers)
        if flight_key in self._flights or now < entry.refresh_after or self._is_tripped():
            return
        wanted = _Wanted(_asking(copy.copy(request), None), key, NOTHING_ASKED, entry, _Why.STALE, is_behind=True)
        wanted.request.method = "GET"
        entry.refresh_after = now + REFRESH_AGAIN_S
        if self._cache.run_behind(self._refreshed(flight_key, wanted)):
            self._counts.refreshed_behind += 1

    async def _refreshed(self, flight_key: _FlightKey, wanted: _Wanted) -> None:
        if flight_key in self._flights:
            return
        try:
            response = await self._lead(flight_key, wanted)
            await _discarded(response)
            failed = response.status >= 500
        except Exception:  # noqa: BLE001 - nobody waits for it; whoever needs it next gets the error
            failed = True
        if failed:
            self._counts.refresh_failed += 1


_READING: Final = frozenset({"GET", "HEAD"})


def _values(headers: Mapping[str, str], name: str) -> Sequence[str]:
    """All lines of a field. Only the server's headers know of several; those of tests are plain mappings."""
    of_all = getattr(headers, "getall", None)
    if of_all is not None:
        values: Sequence[str] = of_all(name, ())
        return values
    value = headers.get(name)
    return () if value is None else (value,)


def _hides_fields(headers: Mapping[str, str]) -> bool:
    """Whether `Connection` names fields that go no further than here (RFC 9110, 7.6.1).

    The handler would answer without them what would then be kept for those who send them: a way to poison a cache.
    """
    options = headers.get("Connection")
    if options is None:
        return False
    return any(
        option.strip().lower() not in _HARMLESS_OPTIONS
        for option in ",".join(_values(headers, "Connection")).split(",")
    )


_HARMLESS_OPTIONS: Final = frozenset({"", "close", "keep-alive"})


def _is_personal(headers: Mapping[str, str]) -> bool:
    return _COOKIE in headers or _has_credentials(headers)


def _has_credentials(headers: Mapping[str, str]) -> bool:
    return _CREDENTIALS[0] in headers or _CREDENTIALS[1] in headers


def _has_conditions(request: Request) -> bool:
    return _IF_NONE_MATCH in request.headers or _IF_MODIFIED_SINCE in request.headers


def _is_known(request: Request, entry: Entry) -> bool:
    """Whether the request says that the shopper has it already."""
    if entry.status != 200 or not _has_conditions(request):
        return False
    headers = request.headers
    return is_not_modified(entry.validators, headers.get(_IF_NONE_MATCH), headers.get(_IF_MODIFIED_SINCE))


def _asking(request: Request, entry: Entry | None) -> Request:
    """The request as the handler gets it: its own conditions are answered here, those of what is stale are asked instead."""
    known = entry.validators if entry is not None else None
    has_validator = known is not None and (known.etag or known.last_modified)
    if not has_validator and not _has_conditions(request):
        return request
    headers = CIMultiDict(request.headers)
    for name in _CONDITIONS:
        headers.popall(name, None)
    if known is not None and known.etag:
        headers[_IF_NONE_MATCH] = known.etag
    if known is not None and known.last_modified:
        headers[_IF_MODIFIED_SINCE] = known.last_modified
    sent = copy.copy(request)
    sent.headers = headers
    return sent


def _passing(request: Request, response: Response, why: _Why, more: bytes = b"") -> Response:
    """An answer that is not from the cache: says so in a note, and loses what is for caches alone."""
    request.extra_headers += b"Cache-Status: peakgate; fwd=%b; fwd-status=%d%b\r\n" % (why.value, response.status, more)
    if _PERHAPS_NOT_SHOWN.search(response.header_block) is None:
        return response
    shown = copy.copy(response)
    shown.header_block = lines_without(response.header_block, NOT_SHOWN)
    return shown


_PERHAPS_NOT_SHOWN: Final = re.compile("|".join(sorted(NOT_SHOWN)).encode(), re.IGNORECASE)


async def _discarded(response: Response) -> None:
    """Nobody will read it."""
    if isinstance(response, StreamedResponse):
        await response.chunks.aclose()


def _is_failure(error: Exception) -> bool:
    """Whether it would be answered as an error of ours, and not as a refusal that is right."""
    problem = problems.of_error(error)
    return problem is None or problem.status >= 500


def _changed_addresses(request: Request, response: Response) -> Sequence[str]:
    """What an unsafe request has changed: its own address, and what the answer names on the same host (RFC 9111, 4.4)."""
    target = f"{request.path}?{request.query}" if request.query else request.path
    host = request.headers.get("Host", "").lower()
    base = f"http://{host}{target}"
    changed = {target, request.path}
    fields = fields_of(response.header_block)
    for value in (*fields.get("location", ()), *fields.get("content-location", ())):
        try:
            parts = urlsplit(urljoin(base, value))
        except ValueError:
            continue
        if parts.netloc.lower() == host:
            changed.add(f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/")
    return sorted(changed)
