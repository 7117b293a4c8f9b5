"""The background tasks of a process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from primitives.background import BackgroundTasks


class Background:
    """Starts background tasks; `stack` closes each of them before anything opened earlier."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.tasks = BackgroundTasks()

    def start(self, name: str, run: Callable[[], Awaitable[None]], *, stop: Callable[[], object] | None = None) -> None:
        """Run a task under supervision until the stack closes."""
        self._stack.push_async_callback(self.tasks.start(name, run, stop=stop).close)
