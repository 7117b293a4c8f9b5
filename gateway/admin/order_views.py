"""Orders as operators see them, on the command line and on the admin API: without personal data unless it is asked for."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cart.timestamps import rfc3339
from checkout.order import Order
from checkout.order_search import FoundOrder, FoundPage
from checkout.ports.progress import Attention

_PERSONAL: Final = ("email", "shipping_address")


def order_detail(order: Order, *, attention: Attention | None = None, personal: bool = False) -> dict[str, Any]:
    """All of an order, in the form of the shop's API; `operator` has the members that only operators see."""
    detail: dict[str, Any] = msgspec.json.decode(order.to_json())
    if not personal:
        detail = {name: value for name, value in detail.items() if name not in _PERSONAL}
    operator: dict[str, Any] = {
        "revision": order.revision,
        "workflow": order.workflow,
        "waiting_facts": [msgspec.to_builtins(fact)["kind"] for fact in order.facts],
    }
    if order.home is not None:
        operator["home_region"] = order.home
    if attention is not None:
        operator["attention"] = {"since": rfc3339(attention.at), "reason": attention.reason}
    return {**detail, "operator": operator}


def order_row(found: FoundOrder) -> dict[str, Any]:
    """An order in a list. `age_s` is for how long it has been in the state that was listed."""
    order = found.order
    row = {
        "id": order.id,
        "number": order.number,
        "status": order.status.value,
        "reason": None if order.reason is None else order.reason.value,
        "age_s": round(found.age_s, 1),
        "total": {"amount": order.total, "currency": order.currency},
        "created_at": rfc3339(order.created_at),
        "updated_at": rfc3339(order.updated_at),
        "attention": found.attention,
    }
    return {name: value for name, value in row.items() if value is not None}


def page_of_orders(page: FoundPage) -> dict[str, Any]:
    """A page of a list."""
    return {"orders": [order_row(each) for each in page.orders], "next_cursor": page.cursor}
