"""The operator's commands on prices, which the admin API has any worker run that serves shoppers."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from cart.catalog.ports import ImportBusy
from cart.catalog.price_desk import Amount, PriceDesk, PricesRefused, UnknownProducts
from cart.catalog.price_periods import PeriodsInvalid, read_instant
from cart.ids import parse_sku
from cart.model import Sku
from gateway.control.commands import Command, CommandFailed


class PriceCommands:
    """Prices are in the store, and in the search of the worker."""

    def __init__(self, desk: PriceDesk) -> None:
        self._desk = desk

    @property
    def by_name(self) -> Mapping[str, Command]:
        """Every command by its name on the control socket."""
        return {
            "show_prices": self._show,
            "set_price": self._set,
            "schedule_prices": self._schedule,
            "clear_prices": self._clear,
        }

    async def _show(self, arguments: dict[str, Any]) -> Any:
        """The prices; None if the SKU is not in the catalogue."""
        sku = _sku(arguments["sku"])

        async def act() -> Any:
            return (await self._desk.show([sku]))[0].members()

        return await _known(act())

    async def _set(self, arguments: dict[str, Any]) -> Any:
        sku = _sku(arguments["sku"])

        async def act() -> Any:
            return (await self._desk.set_ordinary(sku, Amount(arguments["price"]))).members()

        return await _known(act())

    async def _schedule(self, arguments: dict[str, Any]) -> Any:
        amounts = {_sku(name): Amount(price) for name, price in arguments["prices"]}
        if len(amounts) < len(arguments["prices"]):
            raise CommandFailed("a SKU is named twice")

        async def act() -> Any:
            start, until = read_instant(arguments["from"]), read_instant(arguments["until"])
            changed = await self._desk.schedule(amounts, start=start, until=until, replace=arguments["replace"])
            return {"scheduled": changed, "unchanged": len(amounts) - changed}

        return await _known(act())

    async def _clear(self, arguments: dict[str, Any]) -> Any:
        sku = _sku(arguments["sku"])

        async def act() -> Any:
            await self._desk.clear([sku])
            return (await self._desk.show([sku]))[0].members()

        return await _known(act())


async def _known(act: Awaitable[Any]) -> Any:
    try:
        return await act
    except UnknownProducts:
        return None
    except (PricesRefused, PeriodsInvalid, ImportBusy) as error:
        raise CommandFailed(str(error)) from None
    except ValueError as error:
        raise CommandFailed(f"the request {error}") from None


def _sku(name: str) -> Sku:
    sku = parse_sku(name)
    if sku is None:
        raise CommandFailed(f"{name!a} is no SKU")
    return sku
