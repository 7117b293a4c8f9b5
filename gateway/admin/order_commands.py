"""The operator's commands on orders and dead letters, which the admin API has any worker run."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec

from cart.timestamps import rfc3339
from checkout.attention import NotSetAside, OrderDesk
from checkout.dead_letter_desk import DeadLetterDesk, LetterView
from checkout.errors import (
    CancelTooLate,
    CannotRefund,
    CannotRunAgain,
    ChangeNotDurable,
    OrderElsewhere,
    OrderNotFound,
    ServiceUnavailable,
    TooManyFacts,
    UnknownWorkflow,
)
from checkout.order import Order
from checkout.order_number import order_number
from checkout.order_search import AmbiguousNumber, OrderSearch, Selection
from checkout.ports.dead_letters import LookIsUnsafe
from gateway.admin.order_views import order_detail, page_of_orders
from gateway.control.commands import Command, CommandFailed

# Letters that one call acts on, so that it ends before the caller of the API gives up.
MAX_LETTERS = 100


class OrderCommands:
    """Any worker can run them: the orders are in the store."""

    def __init__(self, desk: OrderDesk, search: OrderSearch, dead_letters: DeadLetterDesk) -> None:
        self._desk = desk
        self._search = search
        self._dead_letters = dead_letters

    @property
    def by_name(self) -> Mapping[str, Command]:
        """Every command by its name on the control socket."""
        return {
            "find_orders": self._find,
            "list_orders": self._list,
            "orders_of_email": self._of_email,
            "attention": self._attention,
            "retry_order": self._retry,
            "cancel_order": self._cancel,
            "refund_order": self._refund,
            "list_dead_letters": self._list_letters,
            "show_dead_letter": self._show_letter,
            "act_on_dead_letters": self._act_on_letters,
        }

    # Looking

    async def _find(self, arguments: dict[str, Any]) -> Any:
        found = await self._search.find(arguments["order"])
        return [
            order_detail(
                order, attention=await self._search.attention_of(order.id), personal=arguments.get("personal", False)
            )
            for order in found
        ]

    async def _list(self, arguments: dict[str, Any]) -> Any:
        try:
            return page_of_orders(await self._search.page(msgspec.convert(arguments, Selection)))
        except ValueError as error:
            raise CommandFailed(str(error)) from None

    async def _of_email(self, arguments: dict[str, Any]) -> Any:
        try:
            return page_of_orders(await self._search.of_email(**arguments))
        except ValueError as error:
            raise CommandFailed(str(error)) from None

    async def _attention(self, _arguments: dict[str, Any]) -> Any:
        return [
            {
                "id": entry.order_id,
                "number": order_number(entry.order_id),
                "since": rfc3339(entry.at),
                "reason": entry.reason,
            }
            for entry in await self._desk.needing_attention()
        ]

    # Acting

    async def _retry(self, arguments: dict[str, Any]) -> None:
        order = await self._one(arguments)
        step = arguments.get("step")
        await _act(self._desk.retry(order.id) if step is None else self._desk.retry_from(order.id, step))

    async def _cancel(self, arguments: dict[str, Any]) -> None:
        await _act(self._desk.cancel((await self._one(arguments)).id))

    async def _refund(self, arguments: dict[str, Any]) -> bool:
        order = await self._one(arguments)
        asking = self._desk.refund(
            order.id, key=arguments["key"], amount=arguments.get("amount"), detail=arguments.get("detail")
        )
        return bool(await _act(asking))

    async def _one(self, arguments: dict[str, Any]) -> Order:
        try:
            return await self._search.one(arguments["order"])
        except OrderNotFound:
            raise CommandFailed(NO_SUCH_ORDER) from None
        except AmbiguousNumber as error:
            raise CommandFailed(str(error)) from None

    # Dead letters

    async def _list_letters(self, arguments: dict[str, Any]) -> Any:
        try:
            page = await self._dead_letters.page(**arguments)
            count = await self._dead_letters.count()
        except (ValueError, LookIsUnsafe, ServiceUnavailable) as error:
            raise CommandFailed(str(error)) from None
        return {
            "count": count,
            "dead_letters": [letter_as_json(each) for each in page.letters],
            "next_cursor": page.cursor,
        }

    async def _show_letter(self, arguments: dict[str, Any]) -> Any:
        try:
            letter = await self._dead_letters.find(arguments["letter"])
        except (LookIsUnsafe, ServiceUnavailable) as error:
            raise CommandFailed(str(error)) from None
        return None if letter is None else letter_as_json(letter)

    async def _act_on_letters(self, arguments: dict[str, Any]) -> Any:
        """Act on the letters with these ids, or on up to 100 of all."""
        act, ids = arguments["act"], arguments.get("ids")
        try:
            done = await self._dead_letters.run(act, ids=ids, rate=None, limit=MAX_LETTERS)
            return {"done": done, "left": await self._dead_letters.count()}
        except (LookIsUnsafe, ServiceUnavailable) as error:
            raise CommandFailed(str(error)) from None


NO_SUCH_ORDER = "there is no such order"


async def _act(act: Awaitable[Any]) -> Any:
    try:
        return await act
    except Exception as error:
        if (reason := refusal_of(error)) is None:
            raise
        raise CommandFailed(reason) from None


def refusal_of(error: Exception) -> str | None:
    """Why an act on an order is refused; None for another error."""
    if isinstance(error, OrderNotFound):
        return NO_SUCH_ORDER
    if isinstance(error, OrderElsewhere):
        return f"the order has its home in the Region {error.home}; do it there"
    if isinstance(error, NotSetAside):
        return "the order does not need attention"
    if isinstance(error, CancelTooLate):
        return f"the order is {error.status}"
    if isinstance(error, TooManyFacts):
        return "the order has had so many reports and requests that it takes no more"
    if isinstance(error, ChangeNotDurable):
        return "it is stored, but not as durable as promised yet; do the same again"
    if isinstance(error, AmbiguousNumber | CannotRefund | CannotRunAgain | UnknownWorkflow):
        return str(error)
    return None


def letter_as_json(letter: LetterView) -> dict[str, Any]:
    """A dead letter as operators see it, without its content."""
    members = {
        "id": letter.id,
        "since": rfc3339(letter.at),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "order": letter.order_id,
        "number": letter.number,
        "fault": letter.fault,
        "bytes": letter.size,
        "sha256": letter.sha256,
    }
    return {name: value for name, value in members.items() if value is not None}
