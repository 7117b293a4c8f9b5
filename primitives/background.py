"""Supervised background tasks: a task that ends is restarted with back-off, counted and reported."""

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


class TaskEnded(Exception):
    """A task ended that should run until it is closed."""


class BackgroundTask:
    """Runs `run` until `close`, and again whenever it raises, returns or is cancelled before.

    `run` must be callable again. `stop`, where given, asks it to return by itself; without it `close` cancels.
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
        self._is_closing = False
        self._restarts = 0
        self._died_at = float("-inf")
        self._last_error: str | None = None
        self._task = asyncio.get_running_loop().create_task(self._supervise(), name=f"{name}, supervised")

    @property
    def failure(self) -> str | None:
        """The last error of a task that awaits its restart or died less than `STABLE_S` ago."""
        if self._last_error is None or self._clock() - self._died_at >= STABLE_S:
            return None if self._is_running else self._last_error
        return f"{self._last_error}; it has been restarted" if self._is_running else self._last_error

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
        self._is_closing = True
        if self._stop is None or not self._is_running:
            self._task.cancel()
        else:
            stopping = self._stop()
            if asyncio.iscoroutine(stopping):
                await stopping
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _supervise(self) -> None:
        supervisor = asyncio.current_task()
        assert supervisor is not None
        while True:
            started_at = self._clock()
            # In a task of its own, so that a cancellation inside it is told from one of the supervisor.
            run = asyncio.get_running_loop().create_task(self._run_once(), name=self.name)
            try:
                await run
            except asyncio.CancelledError:
                if supervisor.cancelling():
                    raise
                error: Exception = TaskEnded("it was cancelled")
            except Exception as raised:  # noqa: BLE001 - the task is restarted after any error
                error = raised
            else:
                if self._is_closing or supervisor.cancelling():
                    self._is_running = False
                    return
                error = TaskEnded("it returned")
            await self._sleep(self._note_death(error, ran_s=self._clock() - started_at))
            self._is_running = True

    async def _run_once(self) -> None:
        await self._run()

    def _note_death(self, error: Exception, *, ran_s: float) -> float:
        """Count and log it; returns the delay until the restart."""
        self._is_running = False
        self._restarts += 1
        self._died_at = self._clock()
        self._last_error = _text_of(error)
        if ran_s >= STABLE_S:
            self._backoff.reset()
        delay_s = self._backoff.next_delay_s()
        _log.critical("background task %s died; restarting it in %.1f s", self.name, delay_s, exc_info=error)
        return delay_s


def _text_of(error: BaseException) -> str:
    """The type and message of an error; of a group, those of its first member."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


class BackgroundTasks:
    """All background tasks of a process."""

    def __init__(self) -> None:
        self._tasks: dict[str, BackgroundTask] = {}

    def start(
        self, name: str, run: Callable[[], Awaitable[None]], *, stop: Callable[[], object] | None = None
    ) -> BackgroundTask:
        """Start a task under supervision. The caller closes it, in its place among the resources of the process."""
        task = BackgroundTask(name, run, stop=stop)
        self.add(task)
        return task

    def add(self, task: BackgroundTask) -> None:
        """Count and report a task that its owner has started, and closes."""
        assert task.name not in self._tasks, f"two background tasks are named {task.name}"
        self._tasks[task.name] = task

    @property
    def states(self) -> Mapping[str, TaskState]:
        """Every task by name."""
        return {name: task.state for name, task in self._tasks.items()}

    @property
    def failing(self) -> Mapping[str, str]:
        """The last error of each task that awaits its restart or died less than `STABLE_S` ago, by name."""
        failures = {name: task.failure for name, task in self._tasks.items()}
        return {name: failure for name, failure in failures.items() if failure is not None}
