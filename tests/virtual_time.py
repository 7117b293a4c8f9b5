"""Tests in which waiting takes no time: see `benchmarks.harness.virtual_time`."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from benchmarks.harness.virtual_time import VirtualTimeLoop, loop_time, run_in_virtual_time

__all__ = ["VirtualTimeLoop", "in_virtual_time", "loop_time", "pause", "run_in_virtual_time"]

P = ParamSpec("P")
T = TypeVar("T")


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Run an async test in virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_in_virtual_time(test(*args, **kwargs))

    return run


def pause(seconds: float) -> None:
    """Let time pass without running anything, as for a process that was stopped."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.pause(seconds)
