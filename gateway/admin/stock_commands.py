"""The operator's commands on stock, which the admin API has any worker run."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec

from cart.ids import parse_sku
from cart.model import Sku
from checkout.ports.inventory import Inventory, UnitsOutOfRange, UnknownSku
from gateway.control.commands import Command, CommandFailed


class StockCommands:
    """Any worker can run them: stock is in the store."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    @property
    def by_name(self) -> Mapping[str, Command]:
        """Every command by its name on the control socket."""
        return {"show_stock": self._show, "list_holds": self._holds, "set_stock": self._set, "add_stock": self._add}

    async def _show(self, arguments: dict[str, Any]) -> Any:
        """The level; None if the SKU is not in the catalogue."""
        return await _known(self._inventory.level(_sku(arguments)))

    async def _holds(self, arguments: dict[str, Any]) -> Any:
        try:
            return await _known(
                self._inventory.holds(_sku(arguments), limit=arguments["limit"], cursor=arguments.get("cursor"))
            )
        except ValueError as error:
            raise CommandFailed(str(error)) from None

    async def _set(self, arguments: dict[str, Any]) -> Any:
        return await _known(self._inventory.set(_sku(arguments), arguments["units"], key=arguments["key"]))

    async def _add(self, arguments: dict[str, Any]) -> Any:
        return await _known(self._inventory.add(_sku(arguments), arguments["units"], key=arguments["key"]))


async def _known(act: Awaitable[msgspec.Struct]) -> Any:
    try:
        return msgspec.to_builtins(await act)
    except UnknownSku:
        return None
    except UnitsOutOfRange as error:
        raise CommandFailed(str(error)) from None


def _sku(arguments: dict[str, Any]) -> Sku:
    sku = parse_sku(arguments["sku"])
    if sku is None:
        raise CommandFailed("that is no SKU")
    return sku
