"""`peakgate stock show|set|add|holds|terms`."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

from cart.catalog.term_desk import TermDesk
from cart.errors import ProductNotFound
from cart.ids import parse_sku
from cart.model import Sku
from cart.sku_keys import is_cart_hold
from cart.timestamps import rfc3339
from checkout.order_number import order_number
from checkout.ports.inventory import Correction, Inventory, UnitsOutOfRange, UnknownSku
from gateway.commands.order_session import EX_OK, Refused, Say, run_with_inventory, run_with_terms
from gateway.commands.tables import print_json, print_table
from gateway.settings import Settings


def show_stock(settings: Settings, names: Sequence[str], *, as_json: bool, say: Say) -> int:
    """Print the units of products."""

    async def act(inventory: Inventory) -> int:
        levels = [await inventory.level(sku) for sku in map(_sku, names)]
        if as_json:
            print_json(levels)
            return EX_OK
        rows = ((each.sku, str(each.available), str(each.held), str(each.sold)) for each in levels)
        print_table(("SKU", "FOR SALE", "HELD", "SOLD"), rows)
        return EX_OK

    return _run(settings, act, say)


def set_stock(settings: Settings, name: str, units: int, *, key: str | None, as_json: bool, say: Say) -> int:
    """Have so many units for sale."""

    async def act(inventory: Inventory) -> int:
        sku = _sku(name)
        return _print(sku, await inventory.set(sku, units, key=key or _new_key()), as_json=as_json)

    return _run(settings, act, say)


def add_stock(settings: Settings, name: str, units: int, *, key: str | None, as_json: bool, say: Say) -> int:
    """Have so many units more for sale, or fewer."""

    async def act(inventory: Inventory) -> int:
        sku = _sku(name)
        return _print(sku, await inventory.add(sku, units, key=key or _new_key()), as_json=as_json)

    return _run(settings, act, say)


def list_holds(settings: Settings, name: str, *, limit: int, cursor: str | None, as_json: bool, say: Say) -> int:
    """Print a page of the holds of a product."""

    async def act(inventory: Inventory) -> int:
        try:
            page = await inventory.holds(_sku(name), limit=limit, cursor=cursor)
        except ValueError as error:
            raise Refused(str(error)) from error
        if as_json:
            print_json(page)
            return EX_OK
        rows = (
            (
                "cart" if is_cart_hold(each.order_id) else order_number(each.order_id),
                each.order_id,
                str(each.quantity),
                "sold" if each.until_ms is None else rfc3339(each.until_ms),
            )
            for each in page.holds
        )
        print_table(("ORDER", "ID", "UNITS", "HELD UNTIL"), rows)
        if page.next_cursor is not None:
            say(f"there are more: --cursor {page.next_cursor}")
        return EX_OK

    return _run(settings, act, say)


def show_terms(settings: Settings, name: str, changes: Mapping[str, object], *, as_json: bool, say: Say) -> int:
    """Print the terms of sale of a product, after `changes` to those that are named."""

    async def act(desk: TermDesk) -> int:
        sku = _sku(name)
        try:
            terms = await (desk.change(sku, changes) if changes else desk.show(sku))
        except ProductNotFound as error:
            raise Refused(str(UnknownSku(sku))) from error
        if as_json:
            print_json(terms)
        else:
            print_table(("TERM", "VALUE"), [(name, str(value or "none")) for name, value in terms.items()])
        return EX_OK

    return run_with_terms(settings, act, say=say)


def _run(settings: Settings, act: Callable[[Inventory], Awaitable[int]], say: Say) -> int:
    async def refusing(inventory: Inventory) -> int:
        try:
            return await act(inventory)
        except (UnknownSku, UnitsOutOfRange) as error:
            raise Refused(str(error)) from error

    return run_with_inventory(settings, refusing, say=say)


def _print(sku: Sku, correction: Correction, *, as_json: bool) -> int:
    if as_json:
        print_json(correction)
    elif correction.is_new:
        sys.stdout.write(f"{sku}: {correction.after} units are for sale, {correction.before} were\n")
    else:
        sys.stdout.write(f"{sku}: this correction was made before; {correction.after} units are for sale\n")
    return EX_OK


def _sku(name: str) -> Sku:
    sku = parse_sku(name)
    if sku is None:
        raise Refused(f"{name!r} is no SKU")
    return sku


def _new_key() -> str:
    return secrets.token_hex(16)
