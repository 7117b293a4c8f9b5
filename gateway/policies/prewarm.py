"""Fill the response cache before an event begins."""

from __future__ import annotations

import contextlib
from time import monotonic

from multidict import CIMultiDict

from gateway.http.message import Request, StreamedResponse, resolve
from gateway.policies.active import ActivePolicies
from gateway.server.server import EdgeServer


class Prewarmer:
    """Fetches pages past waiting rooms and limits, addressed as clients address them."""

    def __init__(self, server: EdgeServer, active: ActivePolicies) -> None:
        self._server = server
        self._active = active

    async def fetch(self, target: str) -> None:
        """Fetch the path and query `target`, so that its response is in the cache. Raises `RuntimeError` if it fails."""
        path, _, query = target.partition("?")
        headers = CIMultiDict(self._server.last_address)
        events = (event for event in self._active.policies.events if target in event.prewarm)
        if host := next(filter(None, (event.prewarm_host for event in events)), None):
            headers["Host"] = host
        endpoint, params = self._server.router.find("GET", path, headers.get("Host", ""))
        handler = self._active.inner.get(endpoint, endpoint.handler)
        request_id = self._server.ids.of(headers)
        request = Request("GET", path, query, headers, b"", request_id, params, started_at=monotonic())
        response = await resolve(handler(request))
        if isinstance(response, StreamedResponse):
            await self._receive(response)
        if response.status >= 400:
            raise RuntimeError(f"the response has status {response.status}")

    async def _receive(self, response: StreamedResponse) -> None:
        """Receive a response to its end, at which it is stored, unless it is too long for the cache."""
        received = 0
        async with contextlib.aclosing(response.chunks) as chunks:
            async for piece in chunks:
                received += len(piece)
                if received > self._active.policies.cache.max_entry_bytes:
                    return
