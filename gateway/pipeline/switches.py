"""The layers of kill switches: reject requests of a route that is off, and leave out a feature that is off."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from gateway.http import problems
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, header
from gateway.pipeline.switch_board import BUCKETS, LiveSwitch, SwitchBoard

# Rejected clients retry after a time between these, each after its own.
MIN_RETRY_S: Final = 30
MAX_RETRY_S: Final = 60
# Encoded beforehand: a rejection formats nothing.
_RETRY_AFTER: Final = tuple(header("Retry-After", seconds) for seconds in range(MIN_RETRY_S, MAX_RETRY_S + 1))


def client_key(request: Request) -> str:
    """The key that a share of clients is counted by: the API key, else the address.

    Not the shopper: a worker knows the shopper only after it has verified the token, so the first response would differ.
    """
    return request.api_key or request.client


def switches(switches_for_route: Sequence[LiveSwitch], *, rng: Callable[[], float] = random.random) -> Layer:
    """Reject with 503 `disabled` the clients that a switch of the route does not admit. Without switches there is no layer."""

    def layer(handler: Handler) -> Handler:
        if not switches_for_route:
            return handler

        def switched(request: Request) -> ResponseOrAwaitable:
            for switch in switches_for_route:
                # Most switches admit all clients, which needs no client key.
                if switch.admitted_buckets != BUCKETS and not switch.admits(client_key(request)):
                    switch.rejected += 1
                    return _reject(request, rng)
            return handler(request)

        return switched

    return layer


def feature(board: SwitchBoard, name: str, layer: Layer) -> Layer:
    """`layer` for the clients that the switch `name` admits, for all if there is no such switch."""
    if not board.has(name):
        return layer

    def switchable(handler: Handler) -> Handler:
        with_feature = layer(handler)

        def switched(request: Request) -> ResponseOrAwaitable:
            return with_feature(request) if board.is_enabled(name, client_key(request)) else handler(request)

        return switched

    return switchable


def _reject(request: Request, rng: Callable[[], float]) -> Response:
    retry_after = _RETRY_AFTER[int(rng() * len(_RETRY_AFTER))]
    return problems.response(problems.DISABLED, request.id, header_block=retry_after)
