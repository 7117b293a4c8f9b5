"""The routes of the admin API for stock. docs/stock.md is their manual."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType, to_builtins

from cart.catalog.numbers import STOCK_MAX
from cart.dates import read_date
from cart.model import MAX_HOLD_AT_CART_S, SoldAhead
from gateway.admin.responses import Problem, idempotency_key, invalid, json_response, page_limit, read_body

_MAX_HOLDS: Final = 1000


class StockCorrection(Struct, frozen=True, forbid_unknown_fields=True):
    """Has `set` units for sale, or `add` more; one of the two is named."""

    set: Annotated[int, Meta(ge=0, le=STOCK_MAX)] | None = None
    add: Annotated[int, Meta(ge=-STOCK_MAX, le=STOCK_MAX)] | None = None


_Units = Annotated[int, Meta(ge=1, le=STOCK_MAX)]


class ChangedTerms(Struct, frozen=True, forbid_unknown_fields=True):
    """The terms of sale that are to change; null is the default."""

    per_shopper: _Units | UnsetType | None = UNSET
    sold_ahead: SoldAhead | UnsetType | None = UNSET
    ahead_limit: _Units | UnsetType | None = UNSET
    available_on: str | UnsetType | None = UNSET
    hold_at_cart: Annotated[int, Meta(ge=1, le=MAX_HOLD_AT_CART_S)] | UnsetType | None = UNSET


class StockRoutes:
    """Each call is run by any worker."""

    def __init__(self, call_any: Callable[..., Awaitable[Any]]) -> None:
        self._call_any = call_any

    def routes(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return [
            web.get("/admin/v1/stock/{sku}", self._show),
            web.post("/admin/v1/stock/{sku}", self._correct),
            web.get("/admin/v1/stock/{sku}/holds", self._holds),
            web.get("/admin/v1/stock/{sku}/terms", self._terms),
            web.patch("/admin/v1/stock/{sku}/terms", self._change_terms),
        ]

    async def _show(self, request: web.Request) -> web.Response:
        return _found(await self._call_any("show_stock", sku=request.match_info["sku"]))

    async def _holds(self, request: web.Request) -> web.Response:
        limit = page_limit(request, _MAX_HOLDS)
        cursor = {"cursor": request.query["cursor"]} if "cursor" in request.query else {}
        return _found(await self._call_any("list_holds", sku=request.match_info["sku"], limit=limit, **cursor))

    async def _terms(self, request: web.Request) -> web.Response:
        return _found(await self._call_any("show_terms", sku=request.match_info["sku"]))

    async def _change_terms(self, request: web.Request) -> web.Response:
        changed = to_builtins(await read_body(request, ChangedTerms))
        if not changed:
            raise invalid("name a term")
        if changed.get("available_on"):
            changed["available_on"] = _date(changed["available_on"])
        return _found(await self._call_any("change_terms", sku=request.match_info["sku"], changes=changed))

    async def _correct(self, request: web.Request) -> web.Response:
        correction = await read_body(request, StockCorrection)
        if (correction.set is None) == (correction.add is None):
            raise invalid("name set or add")
        if correction.add == 0:
            raise invalid("add must not be 0")
        key = idempotency_key(request)
        how, units = ("set_stock", correction.set) if correction.add is None else ("add_stock", correction.add)
        return _found(await self._call_any(how, sku=request.match_info["sku"], units=units, key=key))


def _date(text: str) -> str:
    try:
        return read_date(text)
    except ValueError:
        raise invalid("available_on must be a date such as 2026-12-20") from None


def _found(result: Any) -> web.Response:
    if result is None:
        raise Problem(404, "product-not-found", "Product not found", detail="The SKU is not in the catalogue.")
    return json_response(200, result)
