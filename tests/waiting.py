"""Waiting for a condition, instead of for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

WITHIN_S = 60.0


async def until(condition: Callable[[], object], *, within_s: float = WITHIN_S, step_s: float = 0.005) -> None:
    """Wait until something is so; raises `AssertionError` when it is not so in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not condition():
        assert loop.time() < end, "it did not come to pass"
        await asyncio.sleep(step_s)


def until_it_is_so(condition: Callable[[], object], *, within_s: float = WITHIN_S, step_s: float = 0.005) -> None:
    """The same for tests without a loop."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(step_s)
