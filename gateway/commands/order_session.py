"""A command on orders: opens the store and the queue, runs, and turns errors into a line and an exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Final, TypeVar

from cart.catalog.term_desk import TermDesk
from checkout.coupon_desk import CouponDesk
from checkout.dead_letter_desk import DeadLetterDesk
from checkout.errors import ServiceUnavailable
from checkout.ports.archive import ArchiveUnavailable
from checkout.ports.books import Books
from checkout.ports.inventory import Inventory
from checkout.ports.keys import KeysUnavailable
from gateway.commands.opened_store import open_store_address
from gateway.compose.order_tools import (
    OrderTools,
    open_books,
    open_coupons,
    open_dead_letters,
    open_inventory,
    open_order_tools,
    open_terms,
    open_whole_store,
)
from gateway.prerequisites import CannotStart, StoreAddress
from gateway.settings import Settings
from store import Store, StoreError
from store.embedded import EmbeddedServerError

Say = Callable[[str], None]

EX_OK: Final = 0
EX_FAILED: Final = 1
EX_USAGE: Final = 64
EX_UNAVAILABLE: Final = 69


class Refused(Exception):
    """The command cannot be carried out; the text has the reason and the remedy."""


T = TypeVar("T")
# Opens the tools of a command.
Open = Callable[[Settings, StoreAddress, AsyncExitStack], Awaitable[T]]


def run_with_tools(settings: Settings, act: Callable[[OrderTools], Awaitable[int]], *, say: Say) -> int:
    """Run `act` on orders; returns its exit code, 1 if it was refused, and 69 if the store or the queue cannot be reached."""
    return _run_with(settings, open_order_tools, act, say)


def run_with_dead_letters(settings: Settings, act: Callable[[DeadLetterDesk], Awaitable[int]], *, say: Say) -> int:
    """Run `act` on dead letters; exit codes as of `run_with_tools`. It needs no key of personal data."""
    return _run_with(settings, open_dead_letters, act, say)


def run_with_books(settings: Settings, act: Callable[[Books], Awaitable[int]], *, say: Say) -> int:
    """Run `act` on the books; exit codes as of `run_with_tools`. It needs no key of personal data."""
    return _run_with(settings, open_books, act, say)


def run_with_inventory(settings: Settings, act: Callable[[Inventory], Awaitable[int]], *, say: Say) -> int:
    """Run `act` on stock; exit codes as of `run_with_tools`. It needs no key of personal data."""
    return _run_with(settings, open_inventory, act, say)


def run_with_coupons(settings: Settings, act: Callable[[CouponDesk], Awaitable[int]], *, say: Say) -> int:
    """Run `act` on coupons; exit codes as of `run_with_tools`. It needs no key of personal data."""
    return _run_with(settings, open_coupons, act, say)


def run_with_terms(settings: Settings, act: Callable[[TermDesk], Awaitable[int]], *, say: Say) -> int:
    """Run `act` on the terms of sale; exit codes as of `run_with_tools`. It needs no key of personal data."""
    return _run_with(settings, open_terms, act, say)


def run_with_store(settings: Settings, act: Callable[[Store], Awaitable[int]], *, say: Say) -> int:
    """Run `act` on the store itself; exit codes as of `run_with_tools`. It needs no key of personal data."""
    return _run_with(settings, open_whole_store, act, say)


def _run_with(settings: Settings, open_tools: Open[T], act: Callable[[T], Awaitable[int]], say: Say) -> int:
    with ExitStack() as stack:
        try:
            return asyncio.run(_run(settings, open_store_address(settings, stack), open_tools, act))
        except Refused as error:
            say(str(error))
            return EX_FAILED
        except (
            StoreError,
            ServiceUnavailable,
            ArchiveUnavailable,
            KeysUnavailable,
            EmbeddedServerError,
            CannotStart,
        ) as error:
            say(str(error))
            return EX_UNAVAILABLE


async def _run(settings: Settings, store: StoreAddress, open_tools: Open[T], act: Callable[[T], Awaitable[int]]) -> int:
    async with AsyncExitStack() as stack:
        return await act(await open_tools(settings, store, stack))
