"""Supervised background tasks: a task that dies is restarted with back-off, counted and reported."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from primitives.backoff import Backoff

_log = logging.getLogger("peakgate")

FIRST_RESTART_S: Final = 0.1
MAX_RESTART_S: Final = 30.0
# A task that ran this long before it died is restarted with the first delay again.
STABLE_S: Final = 60.0

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class TaskState:
    """A background task as operators see it: whether it runs now, how often it died, and the last error."""

    is_running: bool
    restarts: int
    last_error: str | None


class BackgroundTask:
    """Runs `run` until `close`. `run` must be callable again after it raised.

    `stop`, where given, asks `run` to return by itself; without it `close` cancels.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        *,
        stop: Callable[[], object] | None = None,
        backoff: Backoff | None = None,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._run = run
        self._stop = stop
        self._backoff = backoff or Backoff(FIRST_RESTART_S, MAX_RESTART_S)
        self._sleep = sleep
        self._clock = clock
        self._is_running = True
        self._restarts = 0
        self._last_error: str | None = None
        self._task = asyncio.get_running_loop().create_task(self._supervise(), name=name)

    @property
    def state(self) -> TaskState:
        """The task as it is now."""
        return TaskState(self._is_running, self._restarts, self._last_error)

    def cancel(self) -> None:
        """Cancel the task without waiting for its end."""
        self._is_running = False
        self._task.cancel()

    async def close(self) -> None:
        """Stop the task and wait for its end."""
        if self._stop is None or not self._is_running:
            self._task.cancel()
        else:
            stopping = self._stop()
            if asyncio.iscoroutine(stopping):
                await stopping
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _supervise(self) -> None:
        while True:
            started_at = self._clock()
            try:
                await self._run()
            except Exception as error:  # noqa: BLE001 - the task is restarted after any error
                self._is_running = False
                self._restarts += 1
                self._last_error = f"{type(error).__name__}: {error}"
                if self._clock() - started_at >= STABLE_S:
                    self._backoff.reset()
                delay_s = self._backoff.next_delay_s()
                _log.critical("background task %s died; restarting it in %.1f s", self.name, delay_s, exc_info=error)
            else:
                self._is_running = False
                return
            await self._sleep(delay_s)
            self._is_running = True


class BackgroundTasks:
    """All background tasks of a process."""

    def __init__(self) -> None:
        self._tasks: dict[str, BackgroundTask] = {}

    def start(
        self, name: str, run: Callable[[], Awaitable[None]], *, stop: Callable[[], object] | None = None
    ) -> BackgroundTask:
        """Start a task under supervision. The caller closes it, in its place among the resources of the process."""
        task = self._tasks[name] = BackgroundTask(name, run, stop=stop)
        return task

    @property
    def states(self) -> Mapping[str, TaskState]:
        """Every task by name."""
        return {name: task.state for name, task in self._tasks.items()}

    @property
    def failing(self) -> Mapping[str, str]:
        """The last error of each task that waits for its restart, by name."""
        return {
            name: state.last_error
            for name, state in self.states.items()
            if not state.is_running and state.last_error is not None
        }
