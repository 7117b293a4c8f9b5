"""The background tasks of a process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from primitives.background import BackgroundTask, BackgroundTasks


class Background:
    """Starts background tasks; `stack` closes each of them before anything opened earlier."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.tasks = BackgroundTasks()
        # Whether work in progress is cut off at the end, as by a kill, instead of finished.
        self.is_cut_off = False

    def start(self, name: str, run: Callable[[], Awaitable[None]], *, stop: Callable[[], object] | None = None) -> None:
        """Run a task under supervision until the stack closes."""
        self._stack.push_async_callback(self._close, self.tasks.start(name, run, stop=stop))

    async def _close(self, task: BackgroundTask) -> None:
        if self.is_cut_off:
            task.cancel()
        await task.close()
