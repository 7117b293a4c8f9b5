"""The order worker as a function of AWS Lambda: its handler is `gateway.aws_lambda.handler`; docs/queues.md describes it.

Nothing is opened at import. The first call of an instance reads the settings from `PEAKGATE_` variables and opens its
connections, which later calls use.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any, Protocol

from gateway.compose.lambda_worker import LambdaWorker, open_lambda_worker
from gateway.log_format import configure
from gateway.settings import load


class Context(Protocol):
    """The part of Lambda's context that the handler needs."""

    def get_remaining_time_in_millis(self) -> int:
        """The time until Lambda kills the function, in milliseconds."""
        ...


class _Instance:
    """The connections of one instance of the function, between its calls."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._worker: LambdaWorker | None = None

    def handle(self, event: Any, context: Context) -> dict[str, Any]:
        """Process the orders of an event."""
        return self._runner.run(self._handle(event, context))

    async def _handle(self, event: Any, context: Context) -> dict[str, Any]:
        if self._worker is None:
            self._worker = await self._open()
        return await self._worker(event, context.get_remaining_time_in_millis() / 1000)

    async def _open(self) -> LambdaWorker:
        settings = load({}, os.environ)
        configure(settings.log_format, settings.log_level)
        # A call that fails to open leaves nothing behind, and the next one tries again.
        async with AsyncExitStack() as stack:
            worker = await open_lambda_worker(settings, stack)
            self._stack = stack.pop_all()
        return worker

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._stack.aclose())
        self._runner.close()


_instances: list[_Instance] = []


def handler(event: Any, context: Context) -> dict[str, Any]:
    """Process the orders of an SQS event; the response names the messages that are to be delivered again.

    Or run a task of the state machine that `peakgate workflow export` prints; the name of its error is that of the exception.

    Raises the errors of the settings and of the start, after which Lambda delivers the whole event again.
    """
    if not _instances:
        _instances.append(_Instance())
    return _instances[0].handle(event, context)


def close() -> None:
    """Close the connections of this instance; a later call opens them again."""
    while _instances:
        _instances.pop().close()
