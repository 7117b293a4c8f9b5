"""Load shedding: reject the less critical requests during an overload, so that the checkout goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from gateway.config.policies import CRITICALITIES, Criticality
from gateway.http import problems
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, resolve
from gateway.resilience.concurrency import ConcurrencyLimit
from gateway.resilience.shedder import Shedder

# The dependency of nearly every handler.
STORE: Final = "store"
# Whether the response to a request is stored already, so that repeating it costs next to nothing.
IsReplay = Callable[[Request], Awaitable[bool]]


def shedding(
    shedder: Shedder, criticality: Criticality, *, dependency: str = STORE, is_replay: IsReplay | None = None
) -> Layer:
    """Reject with `overloaded` (503) the requests that are too many. A request that `is_replay` is always admitted.

    `dependency` is the one that the handler waits for most. A request is in flight until its response begins; the chunks
    of a streamed response are not counted.
    """
    level, limit = CRITICALITIES.index(criticality), shedder.limit_of(dependency)
    admits, clock = shedder.admits, shedder.clock

    def layer(handler: Handler) -> Handler:
        def shed(request: Request) -> ResponseOrAwaitable:
            if not admits(level, limit):
                if is_replay is None:
                    return _reject(shedder, request)
                return _replay_or_reject(is_replay, shedder, level, request, handler)
            outcome = handler(request)
            return outcome if isinstance(outcome, Response) else _in_flight(outcome, limit, clock)

        return shed

    return layer


def _reject(shedder: Shedder, request: Request) -> Response:
    return problems.response(problems.OVERLOADED, request.id, header_block=shedder.retry_after(request.client))


async def _replay_or_reject(
    is_replay: IsReplay, shedder: Shedder, level: int, request: Request, handler: Handler
) -> Response:
    if not await is_replay(request):
        return _reject(shedder, request)
    shedder.admit_after_all(level)
    return await resolve(handler(request))


async def _in_flight(
    outcome: Coroutine[Any, Any, Response], limit: ConcurrencyLimit, clock: Callable[[], float]
) -> Response:
    limit.acquire()
    began_at = clock()
    delivered = False
    try:
        response = await outcome
        delivered = response.status < 500
        return response
    finally:
        limit.release(began_at, clock(), delivered=delivered)
