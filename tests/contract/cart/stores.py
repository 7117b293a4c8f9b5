"""Stores between an adapter and the server: one records replies, one is killed at a call, one waits for the test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from store import Script, Store, StoreClient, StoreUnavailable, is_cluster

Call = Callable[[], Awaitable[Any]]


class StoreProxy:
    """A store that passes every call on."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def around(self, call: Call) -> Any:
        return await call()

    def execute(self, *command: bytes | str | float) -> Awaitable[Any]:
        return self.around(lambda: self._store.execute(*command))

    def execute_blocking(self, *command: bytes | str | float, timeout_s: float) -> Awaitable[Any]:
        return self.around(lambda: self._store.execute_blocking(*command, timeout_s=timeout_s))

    def run(
        self, script: Script, keys: Sequence[bytes | str | float], args: Sequence[bytes | str | float] = ()
    ) -> Awaitable[Any]:
        return self.around(lambda: self._store.run(script, keys, args))


class RecordingStore(StoreProxy):
    """A store that records every reply."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.replies: list[Any] = []

    async def around(self, call: Call) -> Any:
        self.replies.append(await call())
        return self.replies[-1]


class KilledStore(StoreProxy):
    """A store whose caller is killed at call number `at`: before the command reaches the server, or before its reply arrives."""

    def __init__(self, store: Store, *, at: int, after_running: bool) -> None:
        super().__init__(store)
        self._calls_left = at
        self._after_running = after_running

    async def around(self, call: Call) -> Any:
        if self._calls_left < 0:
            raise StoreUnavailable("killed")
        self._calls_left -= 1
        if self._calls_left >= 0:
            return await call()
        if self._after_running:
            await call()
        raise StoreUnavailable("killed", may_have_run=self._after_running)


class DisturbedStore(StoreProxy):
    """A store that makes another call after each call."""

    def __init__(self, store: Store, disturbance: Call) -> None:
        super().__init__(store)
        self._disturbance = disturbance

    async def around(self, call: Call) -> Any:
        reply = await call()
        await self._disturbance()
        return reply


class SteppedStore(StoreProxy):
    """A store whose calls each wait for a release of `go`."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.waiting = asyncio.Event()
        self.go = asyncio.Semaphore(0)

    async def around(self, call: Call) -> Any:
        self.waiting.set()
        await self.go.acquire()
        return await call()


def is_on_cluster(store: Any) -> bool:
    """Whether a store, behind any proxies of tests, is a cluster."""
    while not isinstance(store, StoreClient) and hasattr(store, "_store"):
        store = store._store
    return is_cluster(store)


Racer = Callable[[Store], Coroutine[Any, Any, object]]


async def race(store: Store, racers: Sequence[Racer], choices: Sequence[int]) -> tuple[list[object], list[int]]:
    """Run the racers, one store call at a time, in the order of `choices`; after the last choice, one racer after another.

    Returns their results, and the choices taken.
    """
    stores = [SteppedStore(store) for _ in racers]
    tasks = [asyncio.ensure_future(racer(stepped)) for racer, stepped in zip(racers, stores, strict=True)]
    taken: list[int] = []
    while ready := [stepped for task, stepped in zip(tasks, stores, strict=True) if await _waits(task, stepped)]:
        choice = 0
        if len(ready) > 1:
            choice = choices[len(taken)] % len(ready) if len(taken) < len(choices) else 0
            taken.append(choice)
        ready[choice].waiting.clear()
        ready[choice].go.release()
    return await asyncio.gather(*tasks, return_exceptions=True), taken


async def _waits(task: asyncio.Future[object], stepped: SteppedStore) -> bool:
    """Whether the racer, once it has gone as far as it gets, waits for its next call; if not, it has ended."""
    arrival = asyncio.ensure_future(stepped.waiting.wait())
    both: list[asyncio.Future[Any]] = [task, arrival]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    arrival.cancel()
    return not task.done()
