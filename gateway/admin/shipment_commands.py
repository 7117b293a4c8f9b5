"""The operator's reports on shipments, by the admin API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from checkout.errors import OrderElsewhere, OrderNotFound, TooManyFacts
from checkout.order_lists import OrderLists
from checkout.order_search import OrderSearch
from checkout.shipping.desk import CannotMark, ShipmentDesk, ShipmentMark
from gateway.admin.order_commands import refusal_of
from gateway.control.commands import Command, CommandFailed


class ShipmentCommands:
    """Any worker can run them: the orders are in the store."""

    def __init__(self, desk: ShipmentDesk, search: OrderSearch | OrderLists) -> None:
        self._desk = desk
        self._search = search

    @property
    def by_name(self) -> Mapping[str, Command]:
        """Every command by its name on the control socket."""
        return {"mark_order": self._mark}

    async def _mark(self, arguments: dict[str, Any]) -> None:
        found = await self._search.find(arguments.pop("order"))
        if not found:
            raise CommandFailed("there is no such order")
        if len(found) > 1:
            raise CommandFailed(f"{len(found)} orders have this number; name one by its id")
        try:
            await self._desk.mark(found[0].id, msgspec.convert(arguments, ShipmentMark))
        except CannotMark as error:
            raise CommandFailed(str(error)) from None
        except OrderNotFound:
            raise CommandFailed("there is no such order") from None
        except OrderElsewhere as error:
            raise CommandFailed(refusal_of(error)) from None
        except TooManyFacts:
            raise CommandFailed("the order has had too many reports and takes no more") from None
