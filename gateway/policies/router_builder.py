"""Build the router of a worker from policies: every endpoint in its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.api.binding import Route, bind
from gateway.api.card_check import refuse_card_numbers
from gateway.cache.cache import ResponseCache
from gateway.cache.response_cache import response_cache
from gateway.config.policies import Forward, Policies
from gateway.http.addresses import ADDRESS_FIELDS, peer_of
from gateway.http.canonical_path import canonical_host
from gateway.http.endpoint import EarlyRejection, Endpoint
from gateway.http.message import Handler
from gateway.http.router import Router
from gateway.pipeline.edge_state import EdgeState
from gateway.pipeline.stacks import Stacks
from gateway.proxy.forward import forward
from gateway.proxy.upstreams import Upstreams
from gateway.resilience.breakers import Breakers
from gateway.resilience.upstream_guard import UpstreamGuards


@dataclass(frozen=True, slots=True)
class Surface:
    """The routes and pages of a worker under any policies. Without `serves_shoppers` it forwards nothing."""

    routes: Sequence[Route]
    pages: Sequence[Endpoint]
    serves_shoppers: bool = True


@dataclass(frozen=True, slots=True)
class Backends:
    """Where handlers get their responses from. They outlive the policies."""

    upstreams: Upstreams
    cache: ResponseCache
    breakers: Breakers
    guards: UpstreamGuards


@dataclass(frozen=True, slots=True)
class BuiltRouter:
    """`inner` has the handlers of endpoints without the layers that may reject a request."""

    router: Router
    inner: Mapping[Endpoint, Handler]


def build_router(policies: Policies, surface: Surface, state: EdgeState, backends: Backends) -> BuiltRouter:
    """The router that these policies describe. Changes nothing that is given."""
    return _Build(policies, state, backends).of(surface)


class _Build:
    def __init__(self, policies: Policies, state: EdgeState, backends: Backends) -> None:
        self._policies = policies
        self._state = state
        self._backends = backends
        self._stacks = Stacks(policies, state)
        self._inner: dict[Endpoint, Handler] = {}

    def of(self, surface: Surface) -> BuiltRouter:
        rules = self._policies.routes if surface.serves_shoppers else ()
        layered = [
            *map(self._call, surface.routes),
            *map(self._forward, rules),
            *map(self._page, surface.pages),
        ]
        router = Router(layered)
        own = {id(endpoint) for endpoint in layered}
        for other in router.endpoints:
            if id(other) not in own:
                other.handler = self._stacks.of_other(other.method, other.path, is_page=False)(other.handler)
        return BuiltRouter(router, self._inner)

    def _call(self, route: Route) -> Endpoint:
        """A call of the API."""
        mark = self._state.degraded.mark
        inner: Handler = bind(route, mark)
        if route.is_public:
            # Our own responses are rebuilt as quickly as they are validated.
            cached = response_cache(
                self._backends.cache,
                key_fields=(),
                is_tripped=self._backends.breakers.of("store").is_rejecting,
                mark=mark,
                degraded="products",
                validates=False,
            )
            # Outside of the cache, whose keys hold paths and queries.
            inner = refuse_card_numbers(route.card_check(), cached(inner))
        endpoint = Endpoint(
            route.method,
            route.path,
            self._stacks.of_route(route)(inner),
            hot=route.hot,
            body_limit=route.body_limit,
        )
        level = self._stacks.early_reject_level(route)
        endpoint.early_reject = None if level is None else EarlyRejection(level, self._stacks.header_block_of(route))
        self._inner[endpoint] = inner
        return endpoint

    def _forward(self, rule: Forward) -> Endpoint:
        """A path or prefix that is forwarded to an upstream."""
        backends = self._backends
        inner = forward(
            rule,
            backends.upstreams[rule.upstream],
            guard=backends.guards.of(rule.upstream),
            is_trusted=self._is_trusted,
        )
        if rule.cache:
            is_tripped = backends.breakers.of(rule.upstream).is_rejecting
            mark = self._state.degraded.mark
            # Without trusted proxies the upstream gets none of the others as clients sent them.
            fields = ADDRESS_FIELDS if len(self._state.clients.trusted) else ADDRESS_FIELDS[:1]
            inner = response_cache(backends.cache, key_fields=fields, is_tripped=is_tripped, mark=mark)(inner)
        endpoint = Endpoint(
            "*",
            rule.name,
            self._stacks.of_forward(rule)(inner),
            body_limit=rule.max_body_bytes,
            stream_above=backends.upstreams[rule.upstream].table.buffer_bytes,
            hosts=tuple(map(canonical_host, rule.hosts)),
        )
        self._inner[endpoint] = inner
        return endpoint

    def _page(self, page: Endpoint) -> Endpoint:
        layers = self._stacks.of_other(page.method, page.path, is_page=True)
        return Endpoint(page.method, page.path, layers(page.handler), hot=page.hot)

    def _is_trusted(self, peer: str) -> bool:
        """Whether a peer is a proxy of the operator, whose forwarding header fields are believed."""
        return (address := peer_of(peer)) is not None and address in self._state.clients.trusted
