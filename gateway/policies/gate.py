"""What a worker answers under the policies in force, and how others take their place while it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from multidict import CIMultiDict

from gateway.api.binding import Route, bind
from gateway.auth.jwks import Jwks
from gateway.auth.shopper_tokens import checked_secret
from gateway.cache.cache import ResponseCache
from gateway.cache.response_cache import response_cache
from gateway.config.policies import BREAKERS, Forward, Policies
from gateway.control.commands import Command, Refused, snapshot_of
from gateway.http.addresses import peer_of
from gateway.http.endpoint import Endpoint, Unread
from gateway.http.message import Handler, Request, StreamedResponse, resolve
from gateway.http.route_stats import RouteStatsTable
from gateway.http.router import Router
from gateway.metrics import Observed
from gateway.pipeline.access_log import AccessLog, Outcome
from gateway.pipeline.stacks import EdgeState, Stacks
from gateway.pipeline.switches import UnknownSwitch
from gateway.policies.active import Swap
from gateway.policies.timetable import Timetable
from gateway.proxy.forward import forward
from gateway.proxy.ports import Guard
from gateway.proxy.upstreams import Upstreams
from gateway.resilience.breaker import Breaker
from gateway.resilience.breakers import Breakers
from gateway.resilience.upstream_guard import UpstreamGuard
from gateway.server.early_reject import UnreadRefusals
from gateway.server.edge_server import ADDRESS_FIELDS, EdgeServer


class Gate:
    """The routes and layers of a worker. `server` takes connections; `prepare` builds what other policies ask for.

    `routes` and `pages` are what is served under any policies. All state is given and lives on.
    """

    def __init__(
        self,
        policies: Policies,
        *,
        routes: Sequence[Route],
        pages: Sequence[Endpoint],
        state: EdgeState,
        jwks: Jwks,
        upstreams: Upstreams,
        cache: ResponseCache,
        breakers: Breakers,
        serves_shoppers: bool = True,
    ) -> None:
        self._routes = routes
        self._pages = pages
        self._state = state
        self._jwks = jwks
        self._upstreams = upstreams
        self._cache = cache
        self._breakers = breakers
        self._serves_shoppers = serves_shoppers
        self._guards: dict[str, tuple[Breaker, UpstreamGuard]] = {}
        self._secret: bytes | None = None
        self._access_log: AccessLog | None = None
        # Of policies that were prepared, until they are in force or others are prepared.
        self._log_prepared: AccessLog | None = None
        self._log_closing: set[asyncio.Task[None]] = set()
        self._tallies = RouteStatsTable()
        # Endpoints without the layers that may say no.
        self._inner: dict[Endpoint, Handler] = {}
        self.timetable = Timetable(policies, apply=self._apply, prewarm=self._prewarm)
        self.server = EdgeServer(Router(()))
        self._unread = UnreadRefusals(self.server, state.shedder)
        state.shedder.on_turning_away = self._turn_away
        self._put_in_force(self.timetable.effective, read_secret(policies), _open_log(policies))

    # Policies

    async def prepare(self, policies: Policies) -> Swap:
        """Open what these policies need; what it returns puts them in force. Raises `Refused` for what cannot be had."""
        effective = self.timetable.at_this_moment(policies)
        await self._close_prepared_log()
        try:
            secret = read_secret(policies)
            checked_secret(policies.shoppers, secret)
            log = self._access_log
            if policies.access_log != self._policies.access_log:
                log = self._log_prepared = _open_log(policies)
        except OSError as error:
            raise Refused(f"{error.filename}: {error.strerror}") from error
        except ValueError as error:
            raise Refused(str(error)) from error

        def swap() -> None:
            self._log_prepared = None
            self._put_in_force(effective, secret, log)
            self.timetable.update(policies, effective)

        return swap

    async def _apply(self, effective: Policies) -> None:
        """Other policies of the same file, as an event begins or ends."""
        self._put_in_force(effective, self._secret, self._access_log)

    def _put_in_force(self, policies: Policies, secret: bytes | None, log: AccessLog | None) -> None:
        state = self._state
        # First what may refuse, and changes nothing then.
        state.tokens.update(policies.shoppers, secret=secret)
        self._secret = secret
        state.callers.update(policies.identity)
        self._upstreams.update(policies.upstreams)
        self._jwks.update(policies.shoppers.jwks_url, policies.shoppers.refresh_s)
        state.switches.update(policies.switches)
        state.rooms.update(policies.rooms)
        state.shedder.update(policies.shedding)
        state.quota.update(policies.limits)
        self._cache.update(policies.cache)
        self._breakers.update(policies.breaker)
        self._breakers.keep([*BREAKERS, "search", *(upstream.name for upstream in policies.upstreams)])
        self._take_log(log)
        self._policies = policies
        self.server.router = self._router(policies)

    def _turn_away(self, turns_away: bool) -> None:
        self.server.unread = self._unread if turns_away else None

    def _take_log(self, log: AccessLog | None) -> None:
        old, self._access_log = self._access_log, log
        self.server.access_log = log
        if old is not None and old is not log:
            closing = asyncio.get_running_loop().create_task(old.close())
            self._log_closing.add(closing)
            closing.add_done_callback(self._log_closing.discard)

    async def _close_prepared_log(self) -> None:
        log, self._log_prepared = self._log_prepared, None
        if log is not None:
            await log.close()

    # Routes

    def _router(self, policies: Policies) -> Router:
        stacks = Stacks(policies, self._state)
        self._inner = {}
        own = [self._endpoint(stacks, route) for route in self._routes]
        forwards = [self._forward(stacks, rule) for rule in policies.routes] if self._serves_shoppers else []
        pages = [_page(stacks, page) for page in self._pages]
        layered = {id(endpoint) for endpoint in (*own, *forwards, *pages)}
        router = Router([*own, *forwards, *pages])
        for other in router.endpoints:
            if id(other) not in layered:
                other.handler = stacks.of_other(other.method, other.path, is_page=False)(other.handler)
        self._tallies.adopt(router.endpoints)
        return router

    def _endpoint(self, stacks: Stacks, route: Route) -> Endpoint:
        mark = self._state.degraded.mark
        inner: Handler = bind(route, mark)
        if route.is_public:
            is_tripped = self._breakers.of("store").refuses
            # Our own answers are made anew as quickly as they are validated.
            cached = response_cache(
                self._cache, key_fields=(), is_tripped=is_tripped, mark=mark, degraded="products", validates=False
            )
            inner = cached(inner)
        endpoint = Endpoint(
            *(route.method, route.path, stacks.of_route(route)(inner)),
            hot=route.hot,
            body_limit=route.body_limit,
        )
        level = stacks.unread_level(route)
        endpoint.unread = None if level is None else Unread(level, stacks.lines_of(route))
        self._inner[endpoint] = inner
        return endpoint

    def _forward(self, stacks: Stacks, rule: Forward) -> Endpoint:
        breaker = self._breakers.of(rule.upstream)
        inner = forward(rule, self._upstreams[rule.upstream], guard=self._guard(rule.upstream), trusts=self._trusts)
        if rule.cache:
            mark = self._state.degraded.mark
            inner = response_cache(self._cache, key_fields=ADDRESS_FIELDS, is_tripped=breaker.refuses, mark=mark)(inner)
        endpoint = Endpoint(
            *("*", f"{rule.prefix}*", stacks.of_forward(rule)(inner)),
            body_limit=rule.body_most_bytes,
            streams=True,
        )
        self._inner[endpoint] = inner
        return endpoint

    def _guard(self, upstream: str) -> Guard:
        breaker = self._breakers.of(upstream)
        known = self._guards.get(upstream)
        # One that was taken out of the file and put back has a breaker of its own.
        if known is None or known[0] is not breaker:
            known = self._guards[upstream] = (breaker, UpstreamGuard(breaker))
        return known[1]

    def _trusts(self, peer: str) -> bool:
        """Whether a peer is a proxy of ours, whose word on the client is believed."""
        return (address := peer_of(peer)) is not None and address in self._state.callers.trusted

    async def _prewarm(self, target: str) -> None:
        """Fetch a page past rooms and limits, so that it is in the cache when its event begins."""
        path, _, query = target.partition("?")
        endpoint, params = self.server.router.find("GET", path)
        handler = self._inner.get(endpoint, endpoint.handler)
        headers = CIMultiDict(self.server.last_address)
        hosts = (event.prewarm_host for event in self._policies.events if target in event.prewarm)
        if host := next(filter(None, hosts), None):
            headers["Host"] = host
        request = Request("GET", path, query, headers, b"", self.server.ids.of(headers), params, started_at=monotonic())
        response = await resolve(handler(request))
        if isinstance(response, StreamedResponse):
            await response.chunks.aclose()
        if response.status >= 400:
            raise RuntimeError(f"it is answered {response.status}")

    # For the operator

    @property
    def parts(self) -> Mapping[str, Observed]:
        """What can be looked at, by name."""
        state = self._state
        parts: dict[str, Observed] = {
            "requests": self._tallies,
            "identity": state.callers,
            "tokens": state.tokens,
            "issuer": self._jwks,
            "switches": state.switches,
            "rooms": state.rooms,
            "shedding": state.shedder,
            "limits": state.quota,
            "breakers": self._breakers,
            "upstreams": self._upstreams,
            "cache": self._cache,
            "degraded": state.degraded,
            "events": self.timetable,
        }
        if self._access_log is not None:
            parts["access_log"] = self._access_log
        return parts

    @property
    def commands(self) -> Mapping[str, Command]:
        """What the operator can have a worker do, besides taking policies."""
        return {"snapshot": self._snapshot, "purge": self._purge, "switch": self._switch, "drill": self._drill}

    async def _snapshot(self, facts: dict[str, Any]) -> Any:
        # The parts of this moment: the access log comes and goes with the policies.
        return await snapshot_of(self.parts)(facts)

    async def _purge(self, facts: dict[str, Any]) -> int:
        return await self._cache.purge(**facts)

    async def _switch(self, facts: dict[str, Any]) -> None:
        try:
            self._state.switches.turn(facts["name"], on=facts.get("on"), percent=facts.get("percent"))
        except UnknownSwitch as error:
            raise Refused(f"there is no switch {error.name}") from error
        except ValueError as error:
            raise Refused(str(error)) from error

    async def _drill(self, facts: dict[str, Any]) -> None:
        """Cut a dependency off on purpose, or let it come back."""
        try:
            if facts.get("tripped", True):
                self._breakers.trip(facts["name"], facts.get("reason") or "a drill")
            else:
                self._breakers.release(facts["name"])
        except KeyError:
            raise Refused(f"there is no dependency {facts['name']}") from None

    async def close(self) -> None:
        """Write what is left of the access log."""
        await self._close_prepared_log()
        if self._access_log is not None:
            await self._access_log.close()
        if self._log_closing:
            await asyncio.wait(self._log_closing)


def _page(stacks: Stacks, page: Endpoint) -> Endpoint:
    layers = stacks.of_other(page.method, page.path, is_page=True)
    return Endpoint(page.method, page.path, layers(page.handler), hot=page.hot)


def read_secret(policies: Policies) -> bytes | None:
    """The shared secret of HS256, if that is used. Raises `OSError`."""
    file = policies.shoppers.hs256_secret_file
    return None if file is None else Path(file).read_bytes().rstrip(b"\r\n")


def _open_log(policies: Policies) -> AccessLog | None:
    """The access log that is asked for. Raises `OSError`."""
    table = policies.access_log
    if not table.on:
        return None
    shares: Mapping[Outcome, float] = {
        "ok": table.ok,
        "refused": table.refused,
        "client_error": table.client_error,
        "server_error": table.server_error,
    }
    return AccessLog(shares, slow_s=table.slow_s, file=table.file, personal=table.personal)
