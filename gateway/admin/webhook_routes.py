"""The routes of the admin API for webhooks. docs/webhooks.md is their manual."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiohttp import web
from msgspec import Struct

from gateway.admin.responses import invalid, json_response, read_body

_MAX_DELIVERIES: Final = 1000
# The id of a webhook contains that of the order, with which the order can be read.
_LOGGED: Final = ("since", "delivered_too")


class Redelivery(Struct, frozen=True, forbid_unknown_fields=True):
    """Delivers one message again, or those since a time that were not delivered, or `delivered_too`."""

    webhook_id: str | None = None
    since: str | None = None
    delivered_too: bool = False


class WebhookRoutes:
    """Each call is run by any worker."""

    def __init__(self, call_any: Callable[..., Awaitable[Any]]) -> None:
        self._call_any = call_any

    def routes(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return [
            web.get("/admin/v1/webhooks", self._list),
            web.get("/admin/v1/webhooks/{endpoint}/deliveries", self._deliveries),
            web.post("/admin/v1/webhooks/{endpoint}/redeliver", self._redeliver),
            web.post("/admin/v1/webhooks/{endpoint}/enable", self._enable),
            web.post("/admin/v1/webhooks/{endpoint}/disable", self._disable),
        ]

    async def _list(self, _request: web.Request) -> web.Response:
        return json_response(200, {"endpoints": await self._call_any("webhooks")})

    async def _deliveries(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit", "50")
        if not (limit.isascii() and limit.isdigit() and 0 < int(limit[:6]) <= _MAX_DELIVERIES):
            raise invalid(f"limit must be a number from 1 to {_MAX_DELIVERIES}")
        since = {"since": request.query["since"]} if "since" in request.query else {}
        lines = await self._call_any(
            "webhook_deliveries", endpoint=request.match_info["endpoint"], limit=int(limit[:6]), **since
        )
        return json_response(200, {"deliveries": lines})

    async def _redeliver(self, request: web.Request) -> web.Response:
        wanted, endpoint = await read_body(request, Redelivery, logged=_LOGGED), request.match_info["endpoint"]
        if (wanted.webhook_id is None) == (wanted.since is None):
            raise invalid("name webhook_id or since")
        if wanted.webhook_id is not None:
            await self._call_any("redeliver_webhook", endpoint=endpoint, webhook_id=wanted.webhook_id)
            return json_response(202, {"redelivered": 1})
        count = await self._call_any(
            "redeliver_webhooks_since", endpoint=endpoint, since=wanted.since, delivered_too=wanted.delivered_too
        )
        return json_response(202, {"redelivered": count})

    async def _enable(self, request: web.Request) -> web.Response:
        await self._call_any("enable_webhook", endpoint=request.match_info["endpoint"])
        return json_response(202, {"detail": "Messages are sent to the endpoint again within seconds."})

    async def _disable(self, request: web.Request) -> web.Response:
        await self._call_any("disable_webhook", endpoint=request.match_info["endpoint"])
        return json_response(200, {"detail": "Nothing is sent to the endpoint until it is enabled."})
