"""A future that many requests share: the decision of a batch of limits."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Generator
from typing import Any, cast


class Decision:
    """Awaiting it waits until `done` is called; it never fails.

    It implements a future for its users: for a task, and for a connection that steps its handler without one. Sharing
    one and waking all at once costs half of a future for each request. Cancelling one request does not end the wait of
    the others. It stays interpreted: mypyc compiles no hand-made awaitables.
    """

    __slots__ = ("_asyncio_future_blocking", "_callbacks", "_is_done", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_done = False
        self._callbacks: list[Callable[[Any], object]] = []
        self._asyncio_future_blocking = False

    def set_done(self) -> None:
        """Wake every request that awaits the decision."""
        self._is_done = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback(self)
            except Exception as error:  # noqa: BLE001 - an error in one request must not stop the others
                self._loop.call_exception_handler({"message": "a limited request failed", "exception": error})

    def __await__(self) -> Generator[Decision, None, None]:
        # An iterator of a tuple in place of a generator: it has no frame to make and to resume.
        if not self._is_done:
            self._asyncio_future_blocking = True
        return cast("Generator[Decision, None, None]", iter(() if self._is_done else (self,)))

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: contextvars.Context | None = None
    ) -> None:
        """As of a future. Tasks pass their context and are scheduled; other callbacks run at once, without a handle."""
        if context is None:
            self._callbacks.append(callback)
        else:
            self._callbacks.append(lambda _: self._loop.call_soon(callback, self, context=context))

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """As of a future."""
        return self._loop

    def done(self) -> bool:
        """As of a future."""
        return self._is_done

    def result(self) -> None:
        """As of a future."""

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - as of a future
        """As of a future that refuses to be cancelled: the task is cancelled when it wakes."""
        return False
