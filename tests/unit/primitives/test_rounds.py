from __future__ import annotations

import asyncio
import logging

import pytest

from primitives.rounds import try_round
from primitives.unit_of_work import current_unit


async def test_a_failed_round_is_logged_and_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ConnectionError("away")

    await try_round("counting", work)
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, "counting failed; the next round tries again: ConnectionError: away")
    ]


async def test_each_round_is_a_unit_of_work_of_its_own() -> None:
    units = []

    async def work() -> None:
        units.append(current_unit())

    await try_round("counting", work)
    await try_round("counting", work)
    assert None not in units
    assert units[0] is not units[1]


async def test_a_round_that_is_cancelled_ends_its_task() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await try_round("counting", work)
