"""The routes of the admin API for prices. docs/prices.md is their manual."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

from aiohttp import web
from msgspec import Meta, Struct, field

from cart.catalog.numbers import PRICE_MAX
from gateway.admin.responses import Problem, json_response, read_body

# Of one call, which holds up the worker that runs it for some 0.1 s.
MAX_PRICES: Final = 1000
_Amount = Annotated[int, Meta(ge=0, le=PRICE_MAX)]


class OrdinaryPrice(Struct, frozen=True, forbid_unknown_fields=True):
    """The ordinary price of a product, in minor units of its currency."""

    price: _Amount


class EventPrice(Struct, frozen=True, forbid_unknown_fields=True):
    """The price of a product for the time of an event, in minor units of its currency."""

    sku: str
    price: _Amount


class ScheduledEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of up to 1,000 products for one time; with `replace`, those that overlap with it are removed."""

    start: str = field(name="from")
    until: str
    prices: Annotated[list[EventPrice], Meta(min_length=1, max_length=MAX_PRICES)]
    replace: bool = False


class PriceRoutes:
    """Each call is run by any worker that serves shoppers."""

    def __init__(self, call_any: Callable[..., Awaitable[Any]]) -> None:
        self._call_any = call_any

    def routes(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return [
            web.post("/admin/v1/prices", self._schedule),
            web.get("/admin/v1/prices/{sku}", self._show),
            web.put("/admin/v1/prices/{sku}", self._set),
            web.delete("/admin/v1/prices/{sku}/scheduled", self._clear),
        ]

    async def _show(self, request: web.Request) -> web.Response:
        return _found(await self._call_any("show_prices", sku=request.match_info["sku"]))

    async def _set(self, request: web.Request) -> web.Response:
        body = await read_body(request, OrdinaryPrice)
        return _found(await self._call_any("set_price", sku=request.match_info["sku"], price=body.price))

    async def _schedule(self, request: web.Request) -> web.Response:
        event = await read_body(request, ScheduledEvent, logged=("from", "until", "replace"))
        prices = [(each.sku, each.price) for each in event.prices]
        times = {"from": event.start, "until": event.until, "replace": event.replace}
        return _found(await self._call_any("schedule_prices", prices=prices, **times))

    async def _clear(self, request: web.Request) -> web.Response:
        return _found(await self._call_any("clear_prices", sku=request.match_info["sku"]))


def _found(result: Any) -> web.Response:
    if result is None:
        raise Problem(404, "product-not-found", "Product not found", detail="The SKU is not in the catalogue.")
    return json_response(200, result)
