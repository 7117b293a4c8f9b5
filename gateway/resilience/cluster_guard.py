"""A guard and a breaker for each primary of a cluster, so that only the calls to a sick one are rejected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from gateway.resilience.breakers import Breakers
from gateway.resilience.store_guard import TICK_S, Guarded, StoreGuard
from store.topology import Address


class GuardedNode(Guarded, Protocol):
    """The client of a primary."""

    @property
    def address(self) -> Address:
        """Its host and port."""
        ...


class ClusterGuard:
    """The guards of the primaries that a cluster has at each check; their breakers are `store@host:port`.

    A unit of work that one of several sick primaries has rejected is rejected by the others too.
    """

    def __init__(
        self,
        nodes: Callable[[], Sequence[GuardedNode]],
        breakers: Breakers,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._nodes = nodes
        self._breakers = breakers
        self._sleep = sleep
        self._guards: dict[GuardedNode, StoreGuard] = {}
        self._gated: set[GuardedNode] = set()
        self._on_gated: Callable[[bool], None] = lambda _is_gated: None

    def on_gated(self, call: Callable[[bool], None]) -> None:
        """See `StoreGuard.on_gated`; for any primary."""
        self._on_gated = call
        call(bool(self._gated))

    async def watch(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check()
            await self._sleep(TICK_S)

    async def check(self) -> None:
        """Check each primary once. They are probed at the same time: one that hangs delays no other's probe."""
        nodes = self._nodes()
        for node in nodes:
            if node not in self._guards:
                self._guard(node)
        for node in set(self._guards).difference(nodes):
            del self._guards[node]
            self._note(node, is_gated=False)
            # A server that came back at the same address has the breaker now.
            if _breaker_name(node) not in map(_breaker_name, nodes):
                self._breakers.discard(_breaker_name(node))
        await asyncio.gather(*(guard.check() for guard in self._guards.values()))

    def _guard(self, node: GuardedNode) -> None:
        guard = self._guards[node] = StoreGuard(node, self._breakers.of(_breaker_name(node)))
        guard.on_gated(lambda is_gated: self._note(node, is_gated=is_gated))

    def _note(self, node: GuardedNode, *, is_gated: bool) -> None:
        was = bool(self._gated)
        (self._gated.add if is_gated else self._gated.discard)(node)
        if was is not bool(self._gated):
            self._on_gated(not was)


def _breaker_name(node: GuardedNode) -> str:
    host, port = node.address
    return f"store@{host}:{port}"
