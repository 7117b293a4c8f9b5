"""The order of the layers, outermost first, and why. A layer that a route does not need is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gateway.api.binding import Route
from gateway.auth.agent_keys import agent_keys
from gateway.auth.authentication import authentication
from gateway.auth.identity import identity
from gateway.config.policies import CRITICALITIES, Criticality, Forward, Limit, Policies, Room
from gateway.config.route_patterns import applies
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, stack
from gateway.pipeline.compression import Compressor
from gateway.pipeline.cors import cors
from gateway.pipeline.deadline import deadline
from gateway.pipeline.degraded import degraded_while
from gateway.pipeline.edge_state import EdgeState
from gateway.pipeline.response_fields import response_fields
from gateway.pipeline.security_headers import security_header_lines, security_headers
from gateway.pipeline.switches import feature, switches
from gateway.ratelimit.rate_limit import rate_limit
from gateway.resilience.shedding import STORE, IsReplay, shedding
from gateway.waitingroom.waiting_room import waiting_room

# For routes that wait for more than the store, which has deadlines of its own.
SLOW_ROUTE_DEADLINE_S: Final = 10.0
CHECKOUT: Final = ("POST", "/v1/checkout")
# Load balancers need their responses during any overload.
_PROBES: Final = frozenset({"/healthz", "/readyz"})


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
        self._compression: Layer = _no_layer
        self._forward_compression: Layer = _no_layer
        if policies.compression.enabled:
            compressor = Compressor(policies.compression.min_bytes)
            self._compression = feature(state.switches, "compression", compressor.layer)
            self._forward_compression = feature(state.switches, "compression", compressor.layer_of_forward)

    def of_route(self, route: Route) -> Layer:
        """The layers of a route of the API."""
        if route.path in _PROBES:
            return deadline(SLOW_ROUTE_DEADLINE_S) if not route.hot else _no_layer
        method, path = route.method, route.path
        is_checkout = (method, path) == CHECKOUT
        is_agents = route.caller == "agent"
        # Public responses come from the response cache, mostly without a wait.
        is_read = method == "GET" and route.hot and not route.is_public
        has_shopper_limits = any(limit.by == "shopper" for limit in self._of(method, path))
        return stack(
            self._outside(method, path, is_page=False),
            # Before everything else: an agent's requests are counted by its key.
            agent_keys(self._state.clients, self._policies.agents.keys) if is_agents else _no_layer,
            self._admission(method, path, route.criticality, sells=is_checkout),
            self._agent_limit(path) if is_agents else _no_layer,
            # Before authentication: rejecting is cheaper than verifying a token. Limits by shopper come after it.
            # A rejected read must not take from limits that come later, so only the last limits let it begin early.
            self._limits(method, path, by_shopper=False, is_read=is_read and not has_shopper_limits),
            _no_layer if is_agents else authentication(self._state.tokens),
            self._limits(method, path, by_shopper=True, is_read=is_read),
            self._degraded_orders() if is_checkout else _no_layer,
            deadline(SLOW_ROUTE_DEADLINE_S) if not route.hot else _no_layer,
            # Outside of the response cache, which stores the plain body: clients accept different codings.
            self._compression if route.is_public else _no_layer,
        )

    def early_reject_level(self, route: Route) -> int | None:
        """The criticality by which requests of a route may be rejected unparsed, None where they may not.

        A waiting room has a response of its own, and a checkout may be a replay.
        """
        is_simple = route.hot and route.path not in _PROBES and (route.method, route.path) != CHECKOUT
        if not is_simple or not self._policies.shedding.enabled or self._rooms(route.method, route.path):
            return None
        return CRITICALITIES.index(route.criticality)

    def header_block_of(self, route: Route) -> bytes:
        """The header fields of every response of a route that may be rejected unparsed."""
        request = Request(route.method, route.path, "", {}, b"", "", ())
        self._for_browsers(route.method, route.path, is_page=False)(lambda _request: Response(204))(request)
        return request.extra_headers

    def of_forward(self, rule: Forward) -> Layer:
        """The layers of a forwarded path or prefix. Its upstream authenticates shoppers, so tokens are not verified."""
        path = rule.pattern
        layers = {method: self._of_forward(rule, method, path) for method in self._named_methods(path)}
        if "GET" in layers:
            # As for routes of the API.
            layers["HEAD"] = layers["GET"]
        other_methods = self._of_forward(rule, "*", path)
        return by_method(layers, other_methods) if layers else other_methods

    def _of_forward(self, rule: Forward, method: str, path: str) -> Layer:
        # For limits that count by route it is one route, with any method.
        route = f"* {rule.name}"
        return stack(
            self._outside(method, path, is_page=True),
            self._admission(method, path, rule.criticality, sells=False, dependency=rule.upstream),
            self._limits(method, path, by_shopper=False, route=route),
            self._limits(method, path, by_shopper=True, route=route),
            self._forward_compression if rule.compress else _no_layer,
        )

    def _named_methods(self, path: str) -> Iterable[str]:
        """The methods that policies name for a path that accepts any."""
        policies = self._policies
        patterns = [
            *(pattern for limit in policies.limits for pattern in limit.routes),
            *(pattern for room in policies.rooms for pattern in room.routes),
            *(pattern for switch in policies.switches for pattern in switch.routes),
            *policies.cors.routes,
        ]
        named = {pattern: pattern.partition(" ")[0] for pattern in patterns if " " in pattern}
        found = {method for pattern, method in named.items() if applies((pattern,), method, path)}
        allows_pages = any(
            applies((pattern,), named[pattern], path) for pattern in policies.cors.routes if pattern in named
        )
        # Preflights of the methods that pages may use.
        return found | {"OPTIONS"} if allows_pages else found

    def of_other(self, method: str, path: str, *, is_page: bool) -> Layer:
        """The layers of documents and pages, and of requests without a route: 404, 405, OPTIONS."""
        if path in _PROBES:
            return _no_layer
        return stack(
            self._outside(method, path, is_page=is_page),
            self._admission(method, path, "optional", sells=False),
            self._limits(method, path, by_shopper=False),
            self._compression if is_page else _no_layer,
        )

    def _outside(self, method: str, path: str, *, is_page: bool) -> Layer:
        """Header fields for browsers, which must be able to read rejections too; then the client's identity."""
        return stack(
            self._for_browsers(method, path, is_page=is_page), identity(self._state.clients, self._state.tokens)
        )

    def _for_browsers(self, method: str, path: str, *, is_page: bool) -> Layer:
        """Responses of the API are data and load nothing; pages, of waiting rooms too, set their own content policy."""
        table = self._policies.cors
        fields = self._headers if is_page else {**self._headers, **self._content_policy}
        # The responses of pages, upstreams and waiting rooms may have some of the fields themselves.
        may_have = is_page or bool(self._rooms(method, path))
        does_cors = bool(table.allow_origins) and _allows_pages(table.routes, method, path)
        security = security_header_lines(fields)
        if not does_cors:
            return security_headers(fields, where_missing=may_have)
        # Where the security fields are always the same, CORS adds them with its own, which saves a call for each request.
        allowed = cors(
            table.allow_origins,
            allow_credentials=table.allow_credentials,
            max_age_s=table.max_age_s,
            expose_headers=table.expose_headers,
            allow_methods=table.allow_methods,
            allow_headers=table.allow_headers,
            header_block=b"" if may_have else b"".join(security.values()),
        )
        return stack(response_fields(security, replaces_cors=True), allowed) if may_have else allowed

    def _rooms(self, method: str, path: str) -> Sequence[Room]:
        return [room for room in self._policies.rooms if room.enabled and applies(room.routes, method, path)]

    def _admission(
        self, method: str, path: str, criticality: Criticality, *, sells: bool, dependency: str = STORE
    ) -> Layer:
        """Switches, waiting rooms, load shedding: a route that is off needs no room, and a waiting client no capacity.

        A request that waits for an upstream counts for that upstream only, so that one that hangs takes no room from others.
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
        if not self._policies.shedding.enabled:
            return _no_layer
        return shedding(self._state.shedder, criticality, dependency=dependency, is_replay=is_replay)

    def _limits(
        self, method: str, path: str, *, by_shopper: bool, route: str | None = None, is_read: bool = False
    ) -> Layer:
        """`route` is the key of limits that count by route, if it is not the method and path."""
        limits = [each for each in self._of(method, path) if (each.by == "shopper") is by_shopper]
        return rate_limit(
            limits,
            self._state.quota,
            route=route or f"{method} {path}",
            mark=self._state.degraded.mark,
            is_read=is_read,
        )

    def _agent_limit(self, path: str) -> Layer:
        """A class of its own: one quota for all calls of an agent."""
        limit = Limit(name="agents", by="api_key", quota=self._policies.agents.quota)
        return rate_limit([limit], self._state.quota, route=path, mark=self._state.degraded.mark)

    def _of(self, method: str, path: str) -> Iterable[Limit]:
        return (limit for limit in self._policies.limits if applies(limit.routes, method, path))

    def _degraded_orders(self) -> Layer:
        state = self._state
        return stack(
            degraded_while(state.degraded, "queue", state.is_queue_away, status=202),
            degraded_while(state.degraded, "prices", state.are_prices_stale, status=202),
        )


def by_method(layers: Mapping[str, Layer], other_methods: Layer) -> Layer:
    """The layers of a request's method, `other_methods` where it has none of its own."""

    def layer(handler: Handler) -> Handler:
        handlers = {method: each(handler) for method, each in layers.items()}
        others = other_methods(handler)

        def by_method_of(request: Request) -> ResponseOrAwaitable:
            return handlers.get(request.method, others)(request)

        return by_method_of

    return layer


def _allows_pages(patterns: Sequence[str], method: str, path: str) -> bool:
    """Whether CORS applies to a route; to OPTIONS, the method of preflights, where it applies to any method of the path."""
    if method == "OPTIONS":
        patterns = [pattern.rpartition(" ")[2] for pattern in patterns]
    return applies(patterns, method, path)


def _no_layer(handler: Handler) -> Handler:
    return handler
