"""`peakgate prices show|set|schedule|event|clear`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Final

from cart.catalog.files import CatalogFileError, Rejection
from cart.catalog.numbers import DecimalMark
from cart.catalog.ports import ImportBusy, SearchUnavailable
from cart.catalog.price_desk import Amount, PriceDesk, PricesRefused, ProductPrices, UnknownProducts
from cart.catalog.price_events import PriceEvent, read_event
from cart.catalog.price_periods import PeriodsInvalid
from cart.currencies import money_text
from cart.ids import parse_sku
from cart.model import Sku
from cart.timestamps import rfc3339, unix_ms
from gateway import compose
from gateway.commands.opened_store import open_store_address
from gateway.commands.order_session import EX_FAILED, EX_OK, EX_UNAVAILABLE, Refused, Say
from gateway.commands.tables import print_json, print_table
from gateway.prerequisites import CannotStart, StoreAddress
from gateway.settings import Settings
from store import StoreError
from store.embedded import EmbeddedServerError

# Within this time all workers know new prices.
KNOWN_MS: Final = 2000
# A few faults show the problem of a file; the count covers the rest.
SHOWN_FAULTS: Final = 100


def show_prices(settings: Settings, names: Sequence[str], *, as_json: bool, say: Say) -> int:
    """Print the prices of products: the ordinary one and the scheduled ones, and which of them holds now."""

    async def act(desk: PriceDesk) -> int:
        shown = await desk.show([_sku(name) for name in names])
        if as_json:
            print_json([each.members() for each in shown])
        else:
            print_table(("SKU", "PRICE", "FROM", "UNTIL", "NOW"), [row for each in shown for row in _rows(each)])
        return EX_OK

    return _run(settings, act, say)


def set_price(settings: Settings, name: str, price: str, *, as_json: bool, say: Say) -> int:
    """Set the ordinary price of a product."""

    async def act(desk: PriceDesk) -> int:
        sku = _sku(name)
        prices = await desk.set_ordinary(sku, Amount(price))
        if as_json:
            print_json(prices.members())
        else:
            sys.stdout.write(f"{sku}: the ordinary price is {money_text(prices.ordinary_price, prices.currency)}\n")
        return EX_OK

    return _run(settings, act, say)


def schedule_price(
    settings: Settings, name: str, price: str, *, start: int, until: int, replace: bool, as_json: bool, say: Say
) -> int:
    """Schedule a price of a product."""

    async def act(desk: PriceDesk) -> int:
        sku = _sku(name)
        _warn_of_late_start(start, say)
        added = await desk.schedule({sku: Amount(price)}, start=start, until=until, replace=replace)
        (prices,) = await desk.show([sku])
        if as_json:
            print_json(prices.members())
        else:
            outcome = "scheduled" if added else "scheduled already"
            sys.stdout.write(f"{sku}: {outcome}, from {rfc3339(start)} until {rfc3339(until)}\n")
        return EX_OK

    return _run(settings, act, say)


def schedule_event(
    settings: Settings, path: str, *, start: int, until: int, mark: DecimalMark, replace: bool, say: Say
) -> int:
    """Schedule the prices of a file for one time, all or none."""

    async def act(desk: PriceDesk) -> int:
        try:
            event = read_event(path, mark)
        except CatalogFileError as error:
            raise Refused(str(error)) from error
        faults = list(event.rejections)
        if not faults:
            _warn_of_late_start(start, say)
            try:
                added = await desk.schedule(event.amounts, start=start, until=until, replace=replace)
            except PricesRefused as refused:
                faults = _rejections(event, refused)
        if faults:
            for line, reason in sorted(faults)[:SHOWN_FAULTS]:
                say(f"{path}:{line}: {reason}")
            raise Refused(f"nothing was scheduled: {len(faults):,} wrong records")
        there = len(event.amounts) - added
        sys.stdout.write(
            f"{added:,} prices scheduled from {rfc3339(start)} until {rfc3339(until)}, {there:,} were there already\n"
        )
        return EX_OK

    return _run(settings, act, say)


def clear_prices(settings: Settings, names: Sequence[str], *, say: Say) -> int:
    """Remove the scheduled prices of products."""

    async def act(desk: PriceDesk) -> int:
        cleared = await desk.clear([_sku(name) for name in names])
        sys.stdout.write(f"{cleared:,} products have no scheduled prices any more\n")
        return EX_OK

    return _run(settings, act, say)


def _rows(prices: ProductPrices) -> Sequence[Sequence[str]]:
    now = unix_ms()
    held = [each.start <= now < each.until for each in prices.scheduled]
    ordinary = money_text(prices.ordinary_price, prices.currency)
    return [
        (prices.sku, ordinary, "", "", "" if any(held) else "yes"),
        *(
            (
                prices.sku,
                money_text(each.price, prices.currency),
                rfc3339(each.start),
                rfc3339(each.until),
                "yes" if is_held else "",
            )
            for each, is_held in zip(prices.scheduled, held, strict=True)
        ),
    ]


def _rejections(event: PriceEvent, refused: PricesRefused) -> list[Rejection]:
    return [Rejection(event.lines[sku], f"{sku!a} {reason}") for sku, reason in refused.faults]


def _warn_of_late_start(start: int, say: Say) -> None:
    if start < unix_ms() + KNOWN_MS:
        say("the price starts before all workers know of it: within two seconds they change one after another")


def _sku(name: str) -> Sku:
    sku = parse_sku(name)
    if sku is None:
        raise Refused(f"{name!r} is no SKU")
    return sku


def _run(settings: Settings, act: Callable[[PriceDesk], Awaitable[int]], say: Say) -> int:
    with ExitStack() as stack:
        try:
            return asyncio.run(_with_desk(settings, open_store_address(settings, stack), act))
        except (Refused, UnknownProducts, PricesRefused, PeriodsInvalid) as error:
            say(str(error))
            return EX_FAILED
        except (ImportBusy, SearchUnavailable, StoreError, EmbeddedServerError, CannotStart) as error:
            say(str(error))
            return EX_UNAVAILABLE


async def _with_desk(settings: Settings, store: StoreAddress, act: Callable[[PriceDesk], Awaitable[int]]) -> int:
    async with AsyncExitStack() as stack:
        catalog, search = await compose.open_catalog(settings, store, stack)
        return await act(PriceDesk(catalog, search))
