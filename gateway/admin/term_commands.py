"""The operator's commands on the terms of sale of products, which the admin API has any worker run."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from cart.catalog.term_desk import TermDesk
from cart.errors import ProductNotFound
from cart.ids import parse_sku
from cart.model import Sku
from gateway.control.commands import Command, CommandFailed


class TermCommands:
    """Any worker can run them: the terms are in the store."""

    def __init__(self, desk: TermDesk) -> None:
        self._desk = desk

    @property
    def by_name(self) -> Mapping[str, Command]:
        """Every command by its name on the control socket."""
        return {"show_terms": self._show, "change_terms": self._change}

    async def _show(self, arguments: dict[str, Any]) -> Any:
        """The terms; None if the SKU is not in the catalogue."""
        return await _known(self._desk.show(_sku(arguments)))

    async def _change(self, arguments: dict[str, Any]) -> Any:
        return await _known(self._desk.change(_sku(arguments), arguments["changes"]))


async def _known(act: Awaitable[dict[str, object]]) -> Any:
    try:
        return await act
    except ProductNotFound:
        return None


def _sku(arguments: dict[str, Any]) -> Sku:
    sku = parse_sku(arguments["sku"])
    if sku is None:
        raise CommandFailed("that is no SKU")
    return sku
