"""Units of work: a guard admits all calls of a unit, or none of them.

A request is a unit, and so are a delivery with the receive that fetched it and each round of a background task. A unit
lives in the context of the code that runs it, so tasks that this code creates belong to it too. Work outside of any unit
is always admitted: it finishes the work of a unit that was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, TypeVar

T = TypeVar("T")


class UnitOfWork:
    """One unit. `is_admitted` is the decision of the guard, None until the first call."""

    __slots__ = ("began_at", "is_admitted")

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.is_admitted: bool | None = None


_current: Final[ContextVar[UnitOfWork | None]] = ContextVar("unit_of_work", default=None)


def current_unit() -> UnitOfWork | None:
    """The unit of the running code, if any."""
    return _current.get()


@contextmanager
def unit_of_work() -> Iterator[None]:
    """Run the block as a unit of its own."""
    token = _current.set(_new_unit())
    try:
        yield
    finally:
        _current.reset(token)


def unit_context() -> Context:
    """A copy of the current context with a unit of its own."""
    context = copy_context()
    context.run(_current.set, _new_unit())
    return context


async def in_context(context: Context, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine in a context, without a task of its own."""
    result: T = await _InContext(context, coroutine)
    return result


class _InContext:
    """Runs each step of a coroutine in a context, and hands on the futures that it awaits."""

    __slots__ = ("_context", "_coroutine")

    def __init__(self, context: Context, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._context = context
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, None, Any]:
        run, coroutine = self._context.run, self._coroutine
        try:
            awaited = run(coroutine.send, None)
            while True:
                try:
                    yield awaited
                except GeneratorExit:
                    run(coroutine.close)
                    raise
                except BaseException as error:  # noqa: BLE001 - it is the coroutine's
                    awaited = run(coroutine.throw, error)
                else:
                    awaited = run(coroutine.send, None)
        except StopIteration as end:
            return end.value


def _new_unit() -> UnitOfWork:
    return UnitOfWork(asyncio.get_running_loop().time())
