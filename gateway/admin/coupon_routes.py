"""The routes of the admin API for coupons. docs/prices.md is their manual."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

from aiohttp import web
from msgspec import Meta, Struct, field, to_builtins

from cart.catalog.numbers import PRICE_MAX, STOCK_MAX
from checkout.coupon_desk import SKUS_MAX
from gateway.admin.responses import Problem, idempotency_key, invalid, json_response, page_limit, read_body

_PAGE: Final = 100
_Amount = Annotated[int, Meta(ge=0, le=PRICE_MAX)]
_Uses = Annotated[int, Meta(ge=0, le=STOCK_MAX)]


class OfferedCoupon(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A coupon; amounts are in minor units of `currency`. `uses` are those of a new one: one that there is keeps its own."""

    name: str
    percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    amount: _Amount | None = None
    free_shipping: bool = False
    currency: str | None = None
    minimum: _Amount | None = None
    start: str | None = field(default=None, name="from")
    until: str | None = None
    skus: Annotated[list[str], Meta(max_length=SKUS_MAX)] = []
    uses: _Uses | None = None
    per_shopper: Annotated[int, Meta(ge=1, le=STOCK_MAX)] | None = None


class ChangedUses(Struct, frozen=True, forbid_unknown_fields=True):
    """Has `set` uses left, or `add` more; one of the two is named."""

    set: _Uses | None = None
    add: Annotated[int, Meta(ge=-STOCK_MAX, le=STOCK_MAX)] | None = None


class CouponRoutes:
    """Each call is run by any worker."""

    def __init__(self, call_any: Callable[..., Awaitable[Any]]) -> None:
        self._call_any = call_any

    def routes(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return [
            web.get("/admin/v1/coupons", self._list),
            web.get("/admin/v1/coupons/{code}", self._show),
            web.put("/admin/v1/coupons/{code}", self._put),
            web.delete("/admin/v1/coupons/{code}", self._remove),
            web.post("/admin/v1/coupons/{code}/uses", self._uses),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        limit = page_limit(request, _PAGE)
        after = request.query.get("after", "")
        return json_response(200, {"coupons": await self._call_any("list_coupons", limit=limit, after=after)})

    async def _show(self, request: web.Request) -> web.Response:
        return _found(await self._call_any("show_coupon", code=request.match_info["code"]))

    async def _put(self, request: web.Request) -> web.Response:
        body = to_builtins(await read_body(request, OfferedCoupon))
        return _found(await self._call_any("put_coupon", code=request.match_info["code"], offer=body))

    async def _remove(self, request: web.Request) -> web.Response:
        return _found(await self._call_any("remove_coupon", code=request.match_info["code"]))

    async def _uses(self, request: web.Request) -> web.Response:
        change = await read_body(request, ChangedUses)
        if (change.set is None) == (change.add is None):
            raise invalid("name set or add")
        how = {"set": change.set} if change.add is None else {"add": change.add}
        key = idempotency_key(request)
        return _found(await self._call_any("change_coupon_uses", code=request.match_info["code"], key=key, **how))


def _found(result: Any) -> web.Response:
    if result is None:
        raise Problem(404, "coupon-not-found", "Coupon not found", detail="There is no coupon of this code.")
    return json_response(200, result)
