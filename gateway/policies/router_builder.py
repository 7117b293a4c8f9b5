"""Build the router of a worker from policies: every endpoint in its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from checkout.tariff.tariff import TariffInForce
from gateway.api.binding import Route, bind
from gateway.api.card_check import refuse_card_numbers
from gateway.cache.cache import ResponseCache
from gateway.cache.response_cache import response_cache
from gateway.config.policies import Api, Forward, Policies
from gateway.http.addresses import ADDRESS_FIELDS, peer_of
from gateway.http.canonical_path import canonical_host
from gateway.http.endpoint import EarlyRejection, Endpoint
from gateway.http.message import Handler, Response, header
from gateway.http.own_paths import DOCS
from gateway.http.router import Router
from gateway.pipeline.edge_state import EdgeState
from gateway.pipeline.stacks import Stacks
from gateway.policies.own_paths import own_path
from gateway.proxy.forward import forward
from gateway.proxy.regions import Regions
from gateway.proxy.upstreams import Upstreams
from gateway.resilience.breakers import Breakers
from gateway.resilience.upstream_guard import UpstreamGuards

RowT = TypeVar("RowT", Route, Endpoint)


@dataclass(frozen=True, slots=True)
class Surface:
    """The routes and pages of a worker under any policies. Without `serves_shoppers` it forwards nothing."""

    routes: Sequence[Route]
    pages: Sequence[Endpoint] = ()
    serves_shoppers: bool = True
    # Makes pages that name own paths, in place of `pages`.
    pages_of: Callable[[Api], Sequence[Endpoint]] | None = None


@dataclass(frozen=True, slots=True)
class Backends:
    """Where handlers get their responses from. They outlive the policies."""

    upstreams: Upstreams
    regions: Regions
    cache: ResponseCache
    breakers: Breakers
    guards: UpstreamGuards
    tariff: TariffInForce
    # Of `RequestHeads`.
    trace_prefix: str = ""


@dataclass(frozen=True, slots=True)
class BuiltRouter:
    """`inner` has the handlers of endpoints without the layers that may reject a request, `regions` those that forward."""

    router: Router
    inner: Mapping[Endpoint, Handler]
    regions: Mapping[str, Handler]


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
        # Where own paths of the route table are served, and back.
        self._paths: dict[str, str] = {}
        self._table_paths: dict[str, str] = {}

    def of(self, surface: Surface) -> BuiltRouter:
        rules = self._policies.routes if surface.serves_shoppers else ()
        pages = surface.pages if surface.pages_of is None else surface.pages_of(self._policies.api)
        layered = [
            *map(self._call, self._served(surface.routes)),
            *map(self._forward, rules),
            *map(self._page, self._served(pages)),
            *map(self._page, self._start_page(rules)),
        ]
        router = Router(layered)
        own = {id(endpoint) for endpoint in layered}
        for other in router.endpoints:
            if id(other) not in own:
                path = self._table_paths.get(other.path, other.path)
                other.handler = self._stacks.of_other(other.method, path, is_page=False)(other.handler)
        regions = {region.name: self._forwarding(region.forward) for region in self._policies.regions}
        return BuiltRouter(router, self._inner, regions)

    def _served(self, rows: Iterable[RowT]) -> Iterator[RowT]:
        """The rows that are served; remembers where."""
        for row in rows:
            path = own_path(self._policies.api, row.path)
            if path is not None:
                self._paths[row.path] = path
                self._table_paths[path] = row.path
                yield row

    def _start_page(self, rules: Iterable[Forward]) -> Sequence[Endpoint]:
        """`/` leads to the reference, unless it is the shop's."""
        docs = own_path(self._policies.api, DOCS)
        if docs is None or any("/" in {rule.prefix, rule.path} for rule in rules):
            return ()
        redirect = Response(307, header_block=header("Location", docs) + header("Cache-Control", "no-store"))
        return (Endpoint("GET", "/", lambda _request: redirect),)

    def _call(self, route: Route) -> Endpoint:
        """A call of the API."""
        mark = self._state.degraded.mark
        inner: Handler = bind(route, mark)
        if route.is_public:
            # Our own responses are rebuilt as quickly as they are validated.
            cached = response_cache(
                self._backends.cache,
                key_fields=(),
                is_tripped=partial(self._backends.breakers.are_rejecting, "store"),
                mark=mark,
                degraded="products",
                validates=False,
            )
            # Outside of the cache, whose keys hold paths and queries.
            inner = refuse_card_numbers(route.card_check(), cached(inner))
        endpoint = Endpoint(
            route.method,
            self._paths[route.path],
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
        inner = self._forwarding(rule)
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

    def _forwarding(self, rule: Forward) -> Handler:
        upstream, guard = self._backends.upstreams[rule.upstream], self._backends.guards.of(rule.upstream)
        return forward(
            rule, upstream, guard=guard, is_trusted=self._is_trusted, trace_prefix=self._backends.trace_prefix
        )

    def _page(self, page: Endpoint) -> Endpoint:
        layers = self._stacks.of_other(page.method, page.path, is_page=True)
        path = self._paths.get(page.path, page.path)
        return Endpoint(page.method, path, layers(page.handler), hot=page.hot)

    def _is_trusted(self, peer: str) -> bool:
        """Whether a peer is a proxy of the operator, whose forwarding header fields are believed."""
        return (address := peer_of(peer)) is not None and address in self._state.clients.trusted
