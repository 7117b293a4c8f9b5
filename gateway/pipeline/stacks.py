"""The order of the layers, outermost first, and why it is so. A layer that a route does not need is not there at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.api.binding import Route
from gateway.auth.authentication import authentication
from gateway.auth.client_identifier import ClientIdentifier
from gateway.auth.identity import identity
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.config.policies import CRITICALITIES, Criticality, Forward, Limit, Policies, Room, applies
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, stack
from gateway.pipeline.compression import compression
from gateway.pipeline.cors import cors
from gateway.pipeline.deadline import deadline
from gateway.pipeline.degraded import Degraded, degraded_while
from gateway.pipeline.security_headers import security_headers
from gateway.pipeline.switches import SwitchBoard, feature, switches
from gateway.ratelimit.rate_limit import rate_limit
from gateway.ratelimit.redis_quota import RedisQuota
from gateway.resilience.shedder import Shedder
from gateway.resilience.shedding import STORE, IsReplay, shedding
from gateway.waitingroom.waiting_room import Rooms, waiting_room

# For routes that wait for more than the store, which has deadlines of its own.
SLOW_ROUTE_DEADLINE_S: Final = 10.0
CHECKOUT: Final = ("POST", "/v1/checkout")
# Balancers must learn how we are whatever else is going on.
_PROBES: Final = frozenset({"/healthz", "/readyz"})


@dataclass(frozen=True, slots=True)
class EdgeState:
    """What the layers of a worker share. It outlives the policies: what they count and know goes on."""

    clients: ClientIdentifier
    tokens: ShopperTokens
    switches: SwitchBoard
    rooms: Rooms
    shedder: Shedder
    quota: RedisQuota
    degraded: Degraded
    # Whether a checkout's answer is stored already.
    is_replay: IsReplay
    # Whether the order queue is cut off, so that orders wait in the outbox.
    is_queue_away: Callable[[], bool]
    # Whether the prices that orders are taken at could not be confirmed of late.
    are_prices_stale: Callable[[], bool]


class Stacks:
    """The layers of every endpoint under one set of policies."""

    def __init__(self, policies: Policies, state: EdgeState) -> None:
        self._policies = policies
        self._state = state
        fields = policies.headers
        self._headers = {
            "strict_transport_security": fields.strict_transport_security,
            "referrer_policy": fields.referrer_policy,
            "x_content_type_options": fields.x_content_type_options,
        }
        self._content_policy = {"content_security_policy": fields.content_security_policy}
        self._compression = (
            feature(state.switches, "compression", compression(policies.compression.least_bytes))
            if policies.compression.on
            else _nothing
        )

    def of_route(self, route: Route) -> Layer:
        """Those of a call of the API."""
        if route.path in _PROBES:
            return deadline(SLOW_ROUTE_DEADLINE_S) if not route.hot else _nothing
        method, path = route.method, route.path
        is_checkout = (method, path) == CHECKOUT
        return stack(
            self._outside(method, path, is_page=False),
            self._admission(method, path, route.criticality, sells=is_checkout),
            # Before authentication: refusing is cheaper than verifying a token. Limits by shopper need to know him.
            self._limits(method, path, by_shopper=False),
            authentication(self._state.tokens),
            self._limits(method, path, by_shopper=True),
            self._degraded_orders() if is_checkout else _nothing,
            deadline(SLOW_ROUTE_DEADLINE_S) if not route.hot else _nothing,
            # Outside of the response cache, which keeps the plain form: each shopper takes another coding.
            self._compression if route.is_public else _nothing,
        )

    def unread_level(self, route: Route) -> int | None:
        """The criticality by which requests of a route may be refused unread.

        A waiting room has another answer, and a checkout may have been answered before.
        """
        is_simple = route.hot and route.path not in _PROBES and (route.method, route.path) != CHECKOUT
        if not is_simple or not self._policies.shedding.on or self._rooms(route.method, route.path):
            return None
        return CRITICALITIES.index(route.criticality)

    def lines_of(self, route: Route) -> bytes:
        """The header lines that every answer of such a route has."""
        request = Request(route.method, route.path, "", {}, b"", "", ())
        self._for_browsers(route.method, route.path, is_page=False)(lambda _request: Response(204))(request)
        return request.extra_headers

    def of_forward(self, rule: Forward) -> Layer:
        """Those of what is forwarded. Who signs in there is the upstream's to know, so its tokens are left alone."""
        path = f"{rule.prefix}*"
        layers = {method: self._of_forward(rule, method, path) for method in self._methods_named(path)}
        if "GET" in layers:
            # As on our own routes.
            layers["HEAD"] = layers["GET"]
        of_any = self._of_forward(rule, "*", path)
        return by_method(layers, of_any) if layers else of_any

    def _of_forward(self, rule: Forward, method: str, path: str) -> Layer:
        # Whatever its method, it is one route to limits that count by route.
        route = f"* {path}"
        return stack(
            self._outside(method, path, is_page=True),
            self._admission(method, path, rule.criticality, sells=False, dependency=rule.upstream),
            self._limits(method, path, by_shopper=False, route=route),
            self._limits(method, path, by_shopper=True, route=route),
            self._compression if rule.compress else _nothing,
        )

    def _methods_named(self, path: str) -> Iterable[str]:
        """The methods that policies name for a path that takes any."""
        policies = self._policies
        patterns = [
            *(pattern for limit in policies.limits for pattern in limit.routes),
            *(pattern for room in policies.rooms for pattern in room.routes),
            *(pattern for switch in policies.switches for pattern in switch.routes),
            *policies.cors.routes,
        ]
        named = {pattern: pattern.partition(" ")[0] for pattern in patterns if " " in pattern}
        return {method for pattern, method in named.items() if applies((pattern,), method, path)}

    def of_other(self, method: str, path: str, *, is_page: bool) -> Layer:
        """Those of documents and their pages, and of what has no route: 404, 405, OPTIONS."""
        if path in _PROBES:
            return _nothing
        return stack(
            self._outside(method, path, is_page=is_page),
            self._admission(method, path, "optional", sells=False),
            self._limits(method, path, by_shopper=False),
            self._compression if is_page else _nothing,
        )

    def _outside(self, method: str, path: str, *, is_page: bool) -> Layer:
        """What every answer passes, refusals too: browsers must be able to read those. Then, who is asking."""
        return stack(
            self._for_browsers(method, path, is_page=is_page), identity(self._state.clients, self._state.tokens)
        )

    def _for_browsers(self, method: str, path: str, *, is_page: bool) -> Layer:
        """Our own answers are data, and load nothing; pages, those of waiting rooms too, say what they load."""
        table = self._policies.cors
        fields = self._headers if is_page else {**self._headers, **self._content_policy}
        return stack(
            security_headers(fields, where_missing=is_page or bool(self._rooms(method, path))),
            cors(table.origins, credentials=table.credentials, max_age_s=table.max_age_s, expose=table.expose)
            if table.origins and applies(table.routes, method, path)
            else _nothing,
        )

    def _rooms(self, method: str, path: str) -> Sequence[Room]:
        return [room for room in self._policies.rooms if room.on and applies(room.routes, method, path)]

    def _admission(
        self, method: str, path: str, criticality: Criticality, *, sells: bool, dependency: str = STORE
    ) -> Layer:
        """Whether there is room: what is off needs none, who waits takes none, and only then is it counted.

        What waits for an upstream counts for that one alone: while it hangs, it takes no room from the others.
        """
        mark = self._state.degraded.mark
        rooms = [
            waiting_room(self._state.rooms[room.name], sells=sells, mark=mark) for room in self._rooms(method, path)
        ]
        return stack(
            switches(self._state.switches.of_route(method, path)),
            *rooms,
            self._shedding(criticality, dependency, self._state.is_replay if sells else None),
        )

    def _shedding(self, criticality: Criticality, dependency: str, is_replay: IsReplay | None) -> Layer:
        if not self._policies.shedding.on:
            return _nothing
        return shedding(self._state.shedder, criticality, dependency=dependency, is_replay=is_replay)

    def _limits(self, method: str, path: str, *, by_shopper: bool, route: str | None = None) -> Layer:
        """`route` is what limits by route count by, where that is not the method and path."""
        limits = [each for each in self._of(method, path) if (each.by == "shopper") is by_shopper]
        return rate_limit(limits, self._state.quota, route=route or f"{method} {path}", mark=self._state.degraded.mark)

    def _of(self, method: str, path: str) -> Iterable[Limit]:
        return (limit for limit in self._policies.limits if applies(limit.routes, method, path))

    def _degraded_orders(self) -> Layer:
        state = self._state
        return stack(
            degraded_while(state.degraded, "queue", state.is_queue_away, status=202),
            degraded_while(state.degraded, "prices", state.are_prices_stale, status=202),
        )


def by_method(layers: Mapping[str, Layer], of_any: Layer) -> Layer:
    """The layers of a request's method, where there are some of its own."""

    def layer(handler: Handler) -> Handler:
        handlers = {method: each(handler) for method, each in layers.items()}
        others = of_any(handler)

        def by_its_method(request: Request) -> ResponseOrAwaitable:
            return handlers.get(request.method, others)(request)

        return by_its_method

    return layer


def _nothing(handler: Handler) -> Handler:
    return handler
