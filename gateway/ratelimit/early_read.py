"""A read that begins while the store decides about its limits: both store calls leave in one write.

A read without effects may run up to its first wait before it is known whether it is within the limits. If it is not, it
is abandoned there, and only a store call was for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from gateway.http.message import Handler, Request, Response
from primitives.futures import ignore_exception


class EarlyRead:
    """The response to a request, as far as its handler has come without waiting.

    The handler must be `hot`: it awaits nothing but futures.
    """

    __slots__ = ("_coroutine", "_error", "_future", "_response")

    def __init__(self, handler: Handler, request: Request) -> None:
        self._coroutine: Coroutine[Any, Any, Response] | None = None
        self._future: asyncio.Future[Any] | None = None
        self._response: Response | None = None
        self._error: Exception | None = None
        try:
            outcome = handler(request)
        except Exception as error:  # noqa: BLE001 - raised by `finish`, if the request is admitted
            self._error = error
            return
        if isinstance(outcome, Response):
            self._response = outcome
        else:
            self._coroutine = outcome
            self._step()

    def _step(self) -> None:
        """Run the handler until it waits for a future or has its response."""
        assert self._coroutine is not None
        try:
            future = self._coroutine.send(None)
        except StopIteration as end:
            self._response, self._coroutine = end.value, None
        except Exception as error:  # noqa: BLE001 - as above
            self._error, self._coroutine = error, None
        else:
            # As a task does: else no other coroutine could await the same future.
            future._asyncio_future_blocking = False  # noqa: SLF001 - part of how asyncio awaits
            self._future = future

    async def finish(self) -> Response:
        """The response of the handler; raises its errors."""
        while self._response is None:
            if self._error is not None:
                raise self._error
            future = self._future
            assert future is not None
            if not future.done():
                await _done(future)
            self._step()
        return self._response

    def abandon(self) -> None:
        """End the handler where it waits, if it does."""
        if self._coroutine is not None:
            self._coroutine.close()
            if self._future is not None:
                self._future.add_done_callback(ignore_exception)


async def _done(future: asyncio.Future[Any]) -> None:
    """Wait until a future is done, without its result: the handler takes that."""
    waiter: asyncio.Future[None] = future.get_loop().create_future()
    future.add_done_callback(lambda _: None if waiter.done() else waiter.set_result(None))
    await waiter
