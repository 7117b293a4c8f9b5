"""Short tasks beside the responses, a bounded number at a time: refreshes and writes to the second tier."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

MAX_BACKGROUND_TASKS: Final = 64


class BackgroundWork:
    """Runs coroutines until they end or `close` cancels them."""

    def __init__(self, max_tasks: int = MAX_BACKGROUND_TASKS) -> None:
        self._max_tasks = max_tasks
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run `work` in the background; returns False, and drops it, while too many tasks run."""
        if len(self._tasks) >= self._max_tasks:
            work.close()
            return False
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """Cancel all tasks and wait for their end."""
        for task in [*self._tasks]:
            task.cancel()
        for task in [*self._tasks]:
            with contextlib.suppress(asyncio.CancelledError):
                await task
