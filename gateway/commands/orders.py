"""`peakgate orders show|list|find|retry|cancel|refund`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from cart.catalog.numbers import minor_units
from cart.currencies import money_text
from checkout.errors import OrderNotFound
from checkout.order import Order
from checkout.order_search import AmbiguousNumber, FoundPage, Selection
from gateway.admin.order_commands import refusal_of
from gateway.admin.order_views import order_detail, page_of_orders
from gateway.commands.order_session import EX_OK, Refused, Say, run_with_tools
from gateway.commands.tables import in_words, print_fields, print_json, print_table
from gateway.compose.order_tools import OrderTools
from gateway.settings import Settings

T = TypeVar("T")
_STDIN: Final = "-"


def show_order(settings: Settings, name: str, *, personal: bool, as_json: bool, say: Say) -> int:
    """Print one order."""

    async def act(tools: OrderTools) -> int:
        order = await _one(tools, name)
        detail = order_detail(order, attention=await tools.search.attention_of(order.id), personal=personal)
        if as_json:
            print_json(detail)
            return EX_OK
        print_fields(_fields(order, detail, await tools.search.age_s(order)))
        sys.stdout.write("\n")
        lines = (
            (line.sku, line.name, str(line.quantity), money_text(line.total, order.currency)) for line in order.lines
        )
        print_table(("SKU", "NAME", "QUANTITY", "TOTAL"), lines)
        sys.stdout.write("\n")
        print_table(("AT", "STATUS", "DETAIL"), _history(order, detail))
        return EX_OK

    return run_with_tools(settings, act, say=say)


def list_orders(settings: Settings, selection: Selection, *, as_json: bool, say: Say) -> int:
    """Print a page of the orders in a state."""

    async def act(tools: OrderTools) -> int:
        _print_page(await _refusing(tools.search.page(selection)), as_json=as_json, say=say, state=selection.state)
        return EX_OK

    return run_with_tools(settings, act, say=say)


def find_orders(
    settings: Settings, name: str | None, *, email: str | None, limit: int, cursor: str | None, as_json: bool, say: Say
) -> int:
    """Print the orders with a number or id, or those of an e-mail address; `-` reads the address from standard input."""
    address = sys.stdin.readline().strip() if email == _STDIN else email

    async def act(tools: OrderTools) -> int:
        if address is not None:
            page = await _refusing(tools.search.of_email(address, limit=limit, cursor=cursor))
        else:
            page = await tools.search.named(name or "")
        if not page.orders:
            raise Refused("no order was found")
        _print_page(page, as_json=as_json, say=say)
        return EX_OK

    return run_with_tools(settings, act, say=say)


def retry_order(settings: Settings, name: str, *, step: str | None, say: Say) -> int:
    """Return an order to the workers."""

    async def act(tools: OrderTools, order: Order) -> str:
        if step is None:
            await tools.desk.retry(order.id)
            return "is with the workers again"
        await tools.desk.retry_from(order.id, step)
        return f"runs again from {step} on, within seconds"

    return _act_on_one(settings, name, act, say)


def cancel_order(settings: Settings, name: str, *, say: Say) -> int:
    """Cancel an order; a worker undoes its steps."""

    async def act(tools: OrderTools, order: Order) -> str:
        await tools.desk.cancel(order.id)
        return "is cancelled; a worker undoes its steps within seconds"

    return _act_on_one(settings, name, act, say)


def refund_order(
    settings: Settings, name: str, *, amount: str | None, key: str | None, detail: str | None, say: Say
) -> int:
    """Ask for a refund of `amount`, in major units, or of all that is left."""

    async def act(tools: OrderTools, order: Order) -> str:
        minor = None if amount is None else _minor_units(amount, order.currency)
        what = "all that is left" if minor is None else money_text(minor, order.currency)
        # The command that is given twice is one request. Without a key it is known by its amount.
        is_new = await tools.desk.refund(order.id, key=key or f"operator:{minor or 'all'}", amount=minor, detail=detail)
        if is_new:
            return f"is refunded {what} within seconds; `orders show` has it in the history then"
        return (
            f"was asked to be refunded {what} before, and is not again: `orders show` has what became of it. For another "
            "refund of the same amount, give the command a --key of its own"
        )

    return _act_on_one(settings, name, act, say)


def _act_on_one(settings: Settings, name: str, act_on: Callable[[OrderTools, Order], Awaitable[str]], say: Say) -> int:
    async def act(tools: OrderTools) -> int:
        order = await _one(tools, name)
        result = await _refusing(act_on(tools, order))
        sys.stdout.write(f"order {order.number} {result}\n")
        return EX_OK

    return run_with_tools(settings, act, say=say)


async def _one(tools: OrderTools, name: str) -> Order:
    try:
        return await tools.search.one(name)
    except OrderNotFound:
        raise Refused(f"there is no order {name!r}; name it by its number, such as 7KQ3M-XP4RT, or by its id") from None
    except AmbiguousNumber as error:
        raise Refused(f"{len(error.ids)} orders have this number; name one by its id: {', '.join(error.ids)}") from None


async def _refusing(act: Awaitable[T]) -> T:
    try:
        return await act
    except ValueError as error:
        raise Refused(str(error)) from error
    except Exception as error:
        if (reason := refusal_of(error)) is None:
            raise
        raise Refused(reason) from error


def _minor_units(amount: str, currency: str) -> int:
    try:
        minor = minor_units(amount, currency)
    except ValueError as error:
        raise Refused(f"--amount: {amount!r} {error}") from error
    if not minor:
        raise Refused("--amount: must be more than nothing")
    return minor


def _print_page(page: FoundPage, *, as_json: bool, say: Say, state: str | None = None) -> None:
    if as_json:
        print_json(page_of_orders(page))
        return
    rows = [
        (
            found.order.number,
            found.order.status.value + (f" ({found.order.reason.value})" if found.order.reason else ""),
            in_words(found.age_s),
            money_text(found.order.total, found.order.currency),
            found.order.id,
            *((found.attention,) if found.attention else ()),
        )
        for found in page.orders
    ]
    if rows:
        columns = ("NUMBER", "STATUS", "FOR", "TOTAL", "ID", "NEEDS ATTENTION BECAUSE")
        print_table(columns[: max(map(len, rows))], rows)
    say(
        f"{len(rows)} {'order' if len(rows) == 1 else 'orders'}"
        + (f" in state {state}" if state else "")
        + (f"; next page: --cursor {page.cursor}" if page.cursor else "")
    )


def _fields(order: Order, detail: Mapping[str, Any], age_s: float) -> Iterator[tuple[str, str]]:
    operator = detail["operator"]
    yield "order", f"{order.number}   {order.id}"
    reason = f" ({order.reason.value})" if order.reason else ""
    yield "status", f"{order.status.value}{reason} for {in_words(age_s)}"
    if attention := operator.get("attention"):
        yield "needs attention", f"{attention['reason']}, since {attention['since']}"
    yield "total", f"{money_text(order.total, order.currency)}{_parts_of_total(order)}"
    if order.refunded:
        yield "refunded", money_text(order.refunded, order.currency)
    yield "accepted", detail["created_at"]
    yield "workflow", f"version {order.workflow}, revision {order.revision}"
    if operator["waiting_facts"]:
        yield "waits for", f"a worker to apply: {', '.join(operator['waiting_facts'])}"
    if shipment := detail.get("shipment"):
        yield "shipment", ", ".join(f"{name}: {value}" for name, value in shipment.items())
    if "email" in detail:
        yield "e-mail", str(detail["email"])
    if address := detail.get("shipping_address"):
        yield "ship to", ", ".join(map(str, address.values()))


def _parts_of_total(order: Order) -> str:
    """The parts of a total that is not that of the lines alone, to stand behind it."""
    amounts = order.amounts
    parts = [("lines", amounts.subtotal), *((f"coupon {each.code}", -each.amount) for each in order.discounts)]
    if order.shipping:
        parts.append((f"shipping {order.shipping_method}", order.shipping))
    if amounts.is_tax_added:
        parts.append(("tax", amounts.tax))
    shown = ", ".join(f"{name} {money_text(amount, order.currency)}" for name, amount in parts)
    included = (
        f"; it includes {money_text(amounts.tax, order.currency)} of tax"
        if order.tax and not amounts.is_tax_added
        else ""
    )
    return (f": {shown}" if len(parts) > 1 else "") + included


def _history(order: Order, detail: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for entry, event in zip(order.history, detail["history"], strict=True):
        refunded = f"refunded {money_text(entry.refunded, order.currency)}" if entry.refunded else ""
        yield event["at"], entry.status.value, "; ".join(filter(None, (refunded, entry.detail)))
