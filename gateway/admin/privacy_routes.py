"""The route of the admin API that erases shoppers. docs/admin.md is its manual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from gateway.admin.order_routes import CallAny
from gateway.admin.responses import invalid, json_response, read_body


class Erasure(Struct, frozen=True, forbid_unknown_fields=True):
    """Erases the orders of a signed-in shopper, or those with an e-mail address; one of the two."""

    owner: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    email: Annotated[str, Meta(min_length=3, max_length=254)] | None = None


class PrivacyRoutes:
    """The call is run by any worker. Its arguments are personal, and are not logged."""

    def __init__(self, call_any: CallAny) -> None:
        self._call_any = call_any

    def routes(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return [web.post("/admin/v1/privacy/erase", self._erase)]

    async def _erase(self, request: web.Request) -> web.Response:
        erasure = await read_body(request, Erasure, logged=())
        if (erasure.owner is None) == (erasure.email is None):
            raise invalid("name either `owner` or `email`")
        by, name = ("owner", erasure.owner) if erasure.owner is not None else ("email", erasure.email)
        return json_response(200, await self._call_any("erase_shopper", by=by, name=name))
