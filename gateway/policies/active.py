"""The active policies of a worker, and their swap while it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from gateway.auth.jwks import Jwks
from gateway.auth.token_verifier import checked_secret
from gateway.config.policies import BREAKERS, Pages, Policies
from gateway.config.secret_file import read_secret_file
from gateway.control.commands import CommandFailed
from gateway.http import problems
from gateway.http.endpoint import Endpoint
from gateway.http.message import Handler
from gateway.http.own_paths import OWN_PREFIX
from gateway.http.page_set import PageSet
from gateway.http.refusal_pages import RefusalPages
from gateway.http.route_stats import RouteStatsTable
from gateway.metrics import Observed
from gateway.pipeline.access_log import AccessLog
from gateway.pipeline.edge_state import EdgeState
from gateway.policies.access_log_slot import AccessLogSlot
from gateway.policies.own_paths import with_own_patterns
from gateway.policies.pages import page_set_in_use
from gateway.policies.reload import Swap
from gateway.policies.router_builder import Backends, Surface, build_router
from gateway.policies.tariff import tariff_of
from gateway.policies.webhook_endpoints import WebhookEndpoints
from gateway.server.server import EdgeServer

# One client may open this part of a worker's streams.
STREAMS_OF_ONE_CLIENT: Final = 8


class ActivePolicies:
    """Applies policies to a server. `prepare` opens and checks the needs of new ones; its swap makes them active.

    The state and the backends are given and live on over a swap. Raises `OSError` where the access log or a secret
    cannot be read.
    """

    def __init__(
        self,
        policies: Policies,
        server: EdgeServer,
        *,
        surface: Surface,
        state: EdgeState,
        backends: Backends,
        jwks: Jwks,
        webhooks: WebhookEndpoints,
    ) -> None:
        self._server = server
        self._surface = surface
        self._state = state
        self._backends = backends
        self._jwks = jwks
        self._webhooks = webhooks
        webhooks.apply(webhooks.read(policies.webhooks))
        self._stats = RouteStatsTable()
        self._secret = read_secret(policies)
        self._log = AccessLogSlot(policies.access_log)
        self._pages = page_set_in_use(policies.pages)
        self.policies = policies
        # The handlers of endpoints without the layers that may reject a request.
        self.inner: Mapping[Endpoint, Handler] = {}
        self._activate(policies, self._secret, self._log.log, self._pages)

    async def prepare(self, policies: Policies) -> Swap:
        """Open and check everything that these policies need. Raises `CommandFailed`, and then nothing has changed."""
        try:
            secret = read_secret(policies)
            checked_secret(policies.shoppers, secret)
            endpoints = self._webhooks.read(policies.webhooks)
            log = await self._log.prepare(policies.access_log)
            pages = await asyncio.to_thread(self._pages_of, policies.pages)
        except OSError as error:
            raise CommandFailed(f"{error.filename}: {error.strerror}") from error
        except ValueError as error:
            raise CommandFailed(str(error)) from error

        def swap() -> None:
            self._activate(policies, secret, log, pages)
            self._webhooks.apply(endpoints)

        return swap

    def _pages_of(self, table: Pages) -> PageSet:
        """The pages of a table; those that there are already, unless a folder may have changed."""
        is_known = table.folder is None and table == self.policies.pages
        return self._pages if is_known else page_set_in_use(table)

    async def apply(self, policies: Policies) -> None:
        """Make other policies of the same file active, as an event begins or ends."""
        self._activate(policies, self._secret, self._log.log, self._pages)

    def _activate(self, policies: Policies, secret: bytes | None, log: AccessLog | None, pages: PageSet) -> None:
        state, backends = self._state, self._backends
        policies = with_own_patterns(policies)
        # The update that may raise comes first, while nothing has changed.
        state.tokens.update(policies.shoppers, secret=secret)
        self._secret = secret
        state.clients.update(policies.identity)
        backends.upstreams.update(policies.all_upstreams)
        self._jwks.update(policies.shoppers.jwks_url, policies.shoppers.jwks_refresh_s)
        state.switches.update(policies.switches)
        state.rooms.update(policies.rooms, pages)
        state.shedder.update(policies.shedding)
        max_streams = policies.shedding.max_event_streams
        state.event_streams.resize(max_streams, max_streams // STREAMS_OF_ONE_CLIENT)
        state.quota.update(policies.limits)
        backends.tariff.now = tariff_of(policies)
        backends.cache.update(policies.cache)
        backends.breakers.update(policies.breaker)
        backends.breakers.retain([*BREAKERS, "search", *(upstream.name for upstream in policies.all_upstreams)])
        self._log.swap(policies.access_log, log)
        self._server.access_log = log
        self._pages = pages
        self._server.refusal_pages = RefusalPages(pages) if policies.pages.enabled else None
        OWN_PREFIX.value = policies.api.prefix
        problems.move(policies.api.prefix)
        built = build_router(policies, self._surface, state, backends)
        self._stats.adopt(built.router.endpoints)
        self.policies, self.inner = policies, built.inner
        self._server.router = built.router
        backends.regions.update(built.regions)

    @property
    def parts(self) -> Mapping[str, Observed]:
        """The parts that operators can look at, by name; the access log comes and goes with the policies."""
        parts: dict[str, Observed] = {"requests": self._stats}
        if self._log.log is not None:
            parts["access_log"] = self._log.log
        return parts

    async def close(self) -> None:
        """Write the rest of the access log."""
        await self._log.close()


def read_secret(policies: Policies) -> bytes | None:
    """The shared secret of HS256, None where that is not used. Raises `OSError`."""
    file = policies.shoppers.hs256_secret_file
    return None if file is None else read_secret_file(file)
