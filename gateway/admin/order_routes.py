"""The routes of the admin API for orders and dead letters. docs/admin.md is their manual."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from checkout.order_search import Selection
from checkout.shipping.desk import ShipmentMark
from gateway.admin.responses import Problem, invalid, json_response, read_body

# The result of a command that any worker runs.
CallAny = Callable[..., Awaitable[Any]]
_BOOLEANS: Final = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


class EmailSearch(Struct, frozen=True, forbid_unknown_fields=True):
    """The orders of an e-mail address; in a body, because addresses of requests are logged in many places."""

    email: Annotated[str, Meta(min_length=3, max_length=254)]
    limit: int = 20
    cursor: str | None = None


class Retry(Struct, frozen=True, forbid_unknown_fields=True, rename={"step": "from"}):
    """Returns an order to the workers, from this step on if one is named."""

    step: str | None = None


class Refund(Struct, frozen=True, forbid_unknown_fields=True):
    """Refunds `amount` minor units, or all that is left. `detail` goes into the order's history."""

    amount: Annotated[int, Meta(ge=1)] | None = None
    detail: Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")] | None = None


class Letters(Struct, frozen=True, forbid_unknown_fields=True):
    """The dead letters to act on: those with these ids, or up to 100 of all."""

    ids: Annotated[list[str], Meta(min_length=1, max_length=100)] | None = None
    all: bool = False


class OrderRoutes:
    """Each call is run by any worker."""

    def __init__(self, call_any: CallAny) -> None:
        self._call_any = call_any

    def routes(self) -> Sequence[web.RouteDef]:
        """The routes."""
        return [
            web.get("/admin/v1/orders", self._list),
            web.post("/admin/v1/orders/search", self._search),
            web.get("/admin/v1/orders/attention", self._attention),
            web.get("/admin/v1/orders/{order}", self._find),
            web.post("/admin/v1/orders/{order}/retry", self._retry),
            web.post("/admin/v1/orders/{order}/cancel", self._cancel),
            web.post("/admin/v1/orders/{order}/refund", self._refund),
            web.post("/admin/v1/orders/{order}/mark", self._mark),
            web.get("/admin/v1/dead-letters", self._list_letters),
            web.get("/admin/v1/dead-letters/{letter}", self._show_letter),
            web.post("/admin/v1/dead-letters/redrive", self._redrive),
            web.post("/admin/v1/dead-letters/drop", self._drop),
        ]

    # Orders

    async def _list(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        try:
            selection = msgspec.convert(
                {name: _BOOLEANS.get(text, text) if name == "newest_first" else text for name, text in query.items()},
                Selection,
                strict=False,
            )
        except msgspec.ValidationError as error:
            raise invalid(f"the query is wrong: {error}") from error
        if unknown := query.keys() - set(Selection.__struct_fields__):
            raise invalid(f"there is no parameter {', '.join(sorted(unknown))}")
        return json_response(200, await self._call_any("list_orders", **msgspec.to_builtins(selection)))

    async def _search(self, request: web.Request) -> web.Response:
        search = await read_body(request, EmailSearch, logged=())
        return json_response(200, await self._call_any("orders_of_email", **msgspec.to_builtins(search)))

    async def _attention(self, _request: web.Request) -> web.Response:
        return json_response(200, {"orders": await self._call_any("attention")})

    async def _find(self, request: web.Request) -> web.Response:
        personal = _BOOLEANS.get(request.query.get("personal", "no"), False)
        found = await self._call_any("find_orders", order=request.match_info["order"], personal=personal)
        if not found:
            raise Problem(404, "order-not-found", "Order not found", detail="No order has this number or id.")
        return json_response(200, {"orders": found})

    async def _retry(self, request: web.Request) -> web.Response:
        retry = await read_body(request, Retry)
        step = {} if retry.step is None else {"step": retry.step}
        await self._call_any("retry_order", order=request.match_info["order"], **step)
        return json_response(202, {"detail": "The order is with the workers again within seconds."})

    async def _cancel(self, request: web.Request) -> web.Response:
        await self._call_any("cancel_order", order=request.match_info["order"])
        return json_response(202, {"detail": "The order is cancelled; a worker undoes its steps within seconds."})

    async def _refund(self, request: web.Request) -> web.Response:
        refund = await read_body(request, Refund, logged=("amount",))
        key = request.headers.get("Idempotency-Key")
        if key is None:
            raise Problem(
                400,
                "idempotency-key-missing",
                "Idempotency key missing",
                detail="Send an Idempotency-Key: a refund that is asked for twice with one key is made once.",
            )
        is_new = await self._call_any(
            "refund_order", order=request.match_info["order"], key=key, **msgspec.to_builtins(refund)
        )
        detail = "The refund is asked for; a worker makes it within seconds, and the order's history then has it."
        return json_response(202, {"detail": detail if is_new else "It was asked for with this key before."})

    async def _mark(self, request: web.Request) -> web.Response:
        # Without the tracking, which leads to the address of the shopper.
        mark = await read_body(request, ShipmentMark, logged=("status", "restock"))
        if (fault := mark.fault()) is not None:
            raise invalid(fault)
        await self._call_any("mark_order", order=request.match_info["order"], **msgspec.to_builtins(mark))
        return json_response(202, {"detail": "The report is with the order; a worker applies it within seconds."})

    # Dead letters

    async def _list_letters(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit", "20")
        if not (limit.isascii() and limit.isdecimal() and len(limit) < 5):
            raise invalid("limit must be 1 to 100")
        cursor = request.query.get("cursor")
        return json_response(200, await self._call_any("list_dead_letters", limit=int(limit), cursor=cursor))

    async def _show_letter(self, request: web.Request) -> web.Response:
        letter = await self._call_any("show_dead_letter", letter=request.match_info["letter"])
        if letter is None:
            raise Problem(404, "dead-letter-not-found", "Dead letter not found", detail="No dead letter has this id.")
        return json_response(200, letter)

    async def _redrive(self, request: web.Request) -> web.Response:
        return await self._act(request, "redrive")

    async def _drop(self, request: web.Request) -> web.Response:
        return await self._act(request, "drop")

    async def _act(self, request: web.Request, act: str) -> web.Response:
        letters = await read_body(request, Letters)
        if (letters.ids is None) is not letters.all:
            raise invalid("name the dead letters by ids, or all of them by all, which is true then")
        return json_response(200, await self._call_any("act_on_dead_letters", act=act, ids=letters.ids))
