"""Fetch a response that cannot be served from memory: single flight, second tier, stale on error, refreshes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from gateway.cache.cache import ResponseCache
from gateway.cache.cache_status import REQUEST as EXCLUDED_BY_REQUEST
from gateway.cache.cache_status import STALE, URI_MISS, VARY_MISS, forwarded
from gateway.cache.freshness import reuse, stale_if_error
from gateway.cache.host_memory import hash_of
from gateway.cache.model import NO_DIRECTIVES, Reuse
from gateway.cache.origin import Origin, Wanted, request_to_origin
from gateway.cache.recorded_response import RecordedResponse
from gateway.cache.recording import drain
from gateway.cache.serving import Serving, can_be_not_modified
from gateway.cache.single_flight import ABANDONED, FAILED, RECORDING, STORED, Flight, FlightKey
from gateway.cache.stored_response import StoredResponse
from gateway.cache.variants import selection
from gateway.http import problems
from gateway.http.message import Handler, Request, Response, StreamedResponse

# RFC 5861, 4: the errors in whose place a stale response may be served.
ERRORS: Final = frozenset({500, 502, 503, 504})
# How long after a failed refresh the next one may begin.
REFRESH_RETRY_S: Final = 1.0
# How often a worker looks whether another one has ended its fetch: at first, and later on.
FIRST_POLL_S: Final = 0.001
MAX_POLL_S: Final = 0.016
_NO_CLAIM: Final = -1


class Fetcher:
    """Fetches from one origin."""

    __slots__ = (
        "_cache",
        "_clock",
        "_flights",
        "_is_tripped",
        "_memory",
        "_origin",
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
        self._origin = Origin(cache, handler, serving, self._recorded)
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
            is_late = flight.recorded is not None
            end = RECORDING if is_late else await flight.join()
            recorded = flight.recorded
            response = self._follow(recorded, wanted, is_late=is_late) if recorded is not None else None
            if response is None and not is_late:
                response = self._after_flight(wanted, STORED if end == RECORDING else end)
            if response is not None:
                return response
            if end != ABANDONED and self._flight_key(key, request.headers) == flight_key:
                # Waiting did not help and would not help the next one either: each request fetches for itself.
                return (await self._fetch_alone(wanted))[1]

    def _follow(self, recorded: RecordedResponse, wanted: Wanted, *, is_late: bool) -> Response | None:
        """The response that is being received, if a request that joins now may have it."""
        request, stored, now = wanted.request, recorded.stored, self._clock()
        if not recorded.selects(request.headers) or now >= stored.fresh_until:
            return None
        if is_late and wanted.reason is EXCLUDED_BY_REQUEST:
            return None
        if not self._cache.is_untouched(wanted.key, stored.tags, recorded.since):
            return None
        self._stats.collapsed += 1
        status = b"fwd=%b; collapsed; ttl=%d" % (wanted.reason, stored.ttl_s(now))
        if can_be_not_modified(request, stored):
            return stored.not_modified_with(status, now)
        return recorded.response_with(status, now)

    def _recorded(self, wanted: Wanted) -> None:
        """A response was received to its end, or is not recorded any more."""
        self._cache.release(wanted.claimed, wanted.token)
        if wanted.flight_key is not None:
            self._flights.pop(wanted.flight_key, None)

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
        stored = self._cache.find(key, headers)
        if stored is not None:
            return stored, STALE
        return None, URI_MISS if self._memory.get(key) is None else VARY_MISS

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
            if end == RECORDING:
                # It stays until the response was received.
                flight.recorded = wanted.recorded
                wanted.flight_key = flight_key
            else:
                del self._flights[flight_key]
            flight.land(end)
        return response

    async def _fetch_alone(self, wanted: Wanted) -> tuple[int, Response]:
        """The response of the second tier, else of the origin; a stale one in place of an error."""
        request, cache = wanted.request, self._cache
        wanted.positions = cache.positions(wanted.key)
        loaded = await cache.load(wanted.key, request.headers)
        if loaded is not None:
            wanted.stored = loaded
            now = self._clock()
            if reuse(loaded.freshness, loaded.age_s(now), wanted.directives) is Reuse.FRESH:
                self._stats.hit += 1
                status = b"hit; ttl=%d; detail=shared" % loaded.ttl_s(now)
                return STORED, self._serving.serve_with(request, loaded, now, status)
        claimed = wanted.claimed = hash_of(f"{wanted.key}\n\n{wanted.request.method}")
        # A handler of our own responds in less time than a claim takes.
        token = cache.claim(claimed) if self._validates else _NO_CLAIM
        if token == 0:
            await self._until_released(claimed)
        try:
            # Another worker may have stored it by now.
            response = self._stored_elsewhere(wanted) if token >= 0 else None
            if response is not None:
                return STORED, response
            wanted.positions = cache.positions(wanted.key)
            return await self._from_origin(wanted)
        finally:
            if wanted.recorded is None:
                cache.release(claimed, token)
            else:
                wanted.token = cache.shorten(claimed, token)

    async def _until_released(self, claimed: int) -> None:
        """Wait for the worker that fetches the same. It ends with the claim, which expires."""
        loop = asyncio.get_running_loop()
        wait_s = FIRST_POLL_S
        while self._cache.is_claimed(claimed):
            later = loop.create_future()
            timer = loop.call_later(wait_s, _wake, later)
            try:
                await later
            finally:
                timer.cancel()
            wait_s = min(2 * wait_s, MAX_POLL_S)

    def _stored_elsewhere(self, wanted: Wanted) -> Response | None:
        """The response from what another worker has stored since the request was looked up."""
        stored = self._cache.find(wanted.key, wanted.request.headers)
        if stored is None or (wanted.stored is not None and stored.born_at <= wanted.stored.born_at):
            return None
        return self._after_flight(wanted, STORED)

    async def fetch_unstored(self, wanted: Wanted) -> Response:
        """Fetch without waiting for others, because the last response could not be stored; this one may be."""
        wanted.positions = self._cache.positions(wanted.key)
        wanted.was_uncacheable = True
        return (await self._from_origin(wanted))[1]

    async def head(self, wanted: Wanted) -> Response:
        """The origin's response to HEAD."""
        return await self._origin.head(wanted)

    async def _from_origin(self, wanted: Wanted) -> tuple[int, Response]:
        """The response of the origin; a stale one in place of an error."""
        request = wanted.request
        try:
            end, response = await self._origin.request(wanted, wanted.stored if self._validates else None)
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
        return end, forwarded(request, response, wanted.reason) if end == FAILED else response

    def _in_place_of_error(self, wanted: Wanted) -> StoredResponse | None:
        stored, now = wanted.stored, self._clock()
        if stored is None or wanted.in_background or not stale_if_error(stored.freshness, stored.age_s(now)):
            return None
        stored.is_failing = True
        stored.refresh_after = now + REFRESH_RETRY_S
        return stored

    # In the background

    def refresh_in_background(self, request: Request, key: str, stored: StoredResponse, now: float) -> None:
        """Fetch while the stale response is served (RFC 5861, 3): once at a time, and not while it cannot succeed."""
        flight_key = self._flight_key(key, request.headers)
        if flight_key in self._flights or now < stored.refresh_after or self._is_tripped():
            return
        sent = request_to_origin(request.with_headers(request.headers), None)
        sent.method = "GET"
        # Its client has its response.
        sent.interims = None
        stored.refresh_after = now + REFRESH_RETRY_S
        wanted = Wanted(sent, key, NO_DIRECTIVES, stored, STALE, in_background=True)
        if self._cache.in_background(self._refresh(flight_key, wanted)):
            self._stats.refreshed_in_background += 1

    async def _refresh(self, flight_key: FlightKey, wanted: Wanted) -> None:
        if flight_key in self._flights:
            return
        try:
            response = await self._lead(flight_key, wanted)
            if wanted.recorded is not None and isinstance(response, StreamedResponse):
                await drain(response.chunks)
            else:
                await _discard(response)
            has_failed = response.status >= 500
        except Exception:  # noqa: BLE001 - no client waits for it; the next request that needs it gets the error
            has_failed = True
        if has_failed:
            self._stats.refresh_failed += 1


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def _discard(response: Response) -> None:
    if isinstance(response, StreamedResponse):
        await response.chunks.aclose()


def _is_server_error(error: Exception) -> bool:
    """Whether the client would get a 5xx for it, and not a refusal."""
    problem = problems.of_error(error)
    return problem is None or problem.status >= 500
