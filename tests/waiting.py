"""Waits for a condition, instead of a fixed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# For a busy machine: nothing is measured by it, and only a test that fails waits so long.
WITHIN_S = 300.0


async def until(condition: Callable[[], object], *, within_s: float = WITHIN_S, step_s: float = 0.005) -> None:
    """Wait until the condition is true; raises `AssertionError` if it is not within `within_s`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not condition():
        assert loop.time() < end, "the condition did not become true"
        await asyncio.sleep(step_s)


def wait_until(condition: Callable[[], object], *, within_s: float = WITHIN_S, step_s: float = 0.005) -> None:
    """`until` for tests without a loop."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(step_s)
