"""Rounds of background work that is repeated whether or not it fails."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from primitives.outages import level_of
from primitives.unit_of_work import unit_of_work

_log = logging.getLogger(__name__)


async def try_round(what: str, work: Callable[[], Awaitable[object]]) -> None:
    """Await one round of `work`, as a unit of work. A failure is logged and ends the round only; `what` begins the line."""
    try:
        with unit_of_work():
            await work()
    except Exception as error:  # noqa: BLE001 - the next round repeats it
        _log.log(level_of(error), "%s failed; the next round tries again: %s: %s", what, type(error).__name__, error)
