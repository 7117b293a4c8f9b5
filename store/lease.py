"""A lease in the store: the exclusive right of one holder, which expires unless it is renewed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from store.client import Store
from store.errors import StoreError
from store.script import Script

POLL_S: Final = 0.1
# A lease is renewed so many times in its life, so that a lost renewal does not end it.
RENEWALS: Final = 4

ACQUIRE: Final = Script.from_package("store", "scripts/acquire_lease.lua")
RENEW: Final = Script.from_package("store", "scripts/renew_lease.lua")
RELEASE: Final = Script.from_package("store", "scripts/release_lease.lua")


class LeaseBusy(Exception):
    """Another holder has the lease."""


class LeaseLost(Exception):
    """The lease expired while its holder still worked; another one may have it now."""


class Lease:
    """The lease `key`, for one holder: each `Lease` has a token of its own. It lasts `ttl_ms` after its last renewal.

    A process that is stopped for longer than `ttl_ms` can work for a moment beside the next holder. So a lease prevents
    double work; it does not replace a fence. All methods raise `StoreError`.
    """

    def __init__(self, store: Store, key: str, *, ttl_ms: int) -> None:
        self._store = store
        self._key = key
        self._ttl_ms = ttl_ms
        self._token = secrets.token_hex(16)

    async def acquire(self) -> bool:
        """Acquire the lease, or renew it where this holder has it already; False while another holder has it."""
        return bool(await self._store.run(ACQUIRE, (self._key,), (self._token, self._ttl_ms)))

    async def renew(self) -> bool:
        """Extend the lease to `ttl_ms`; False where it is lost."""
        return bool(await self._store.run(RENEW, (self._key,), (self._token, self._ttl_ms)))

    async def release(self) -> bool:
        """End the lease; False where it is lost."""
        return bool(await self._store.run(RELEASE, (self._key,), (self._token,)))

    @asynccontextmanager
    async def hold(
        self, *, wait_s: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> AsyncIterator[None]:
        """Acquire the lease within `wait_s`, renew it while the block runs, then release it.

        Raises `LeaseBusy` if another holder has it until then. A block whose lease is lost is cancelled, and `LeaseLost`
        is raised. While the store is away the block continues, and its own commands fail.
        """
        try:
            await self._acquire_within(wait_s, sleep)
            try:
                async with asyncio.timeout(None) as scope:
                    renewing = asyncio.create_task(self._renew_until_lost(scope, sleep))
                    try:
                        yield
                    finally:
                        renewing.cancel()
                        await asyncio.wait([renewing])
            except TimeoutError:
                if scope.expired():
                    raise LeaseLost(f"the lease {self._key} expired before its holder was done") from None
                raise
        finally:
            # Also after a failed wait: the reply of an acquisition may be lost.
            with contextlib.suppress(StoreError):
                await self.release()

    async def _acquire_within(self, wait_s: float, sleep: Callable[[float], Awaitable[None]]) -> None:
        """The wait bounds the pauses only: a store that replies late does not make a free lease a busy one."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        while not await self.acquire():
            if loop.time() >= end:
                raise LeaseBusy(f"another holder has the lease {self._key}")
            await sleep(POLL_S)

    async def _renew_until_lost(self, scope: asyncio.Timeout, sleep: Callable[[float], Awaitable[None]]) -> None:
        is_held = True
        while is_held:
            await sleep(self._ttl_ms / 1000 / RENEWALS)
            with contextlib.suppress(StoreError):
                is_held = await self.renew()
        scope.reschedule(asyncio.get_running_loop().time())
