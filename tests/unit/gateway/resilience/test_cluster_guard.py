"""A breaker for each primary of a cluster."""

from __future__ import annotations

from collections.abc import Callable

from gateway.resilience.breakers import Breakers
from gateway.resilience.cluster_guard import ClusterGuard
from store import StoreTimeout
from store.topology import Address


class FakeNode:
    def __init__(self, port: int) -> None:
        self.address: Address = ("host", port)
        self.answered = 0
        self.failed = 0
        self.oldest_queued_at: float | None = None
        self.admits: Callable[[], bool] | None = None

    def admit_only(self, admits: Callable[[], bool] | None) -> None:
        self.admits = admits

    async def probe(self) -> None:
        raise StoreTimeout("no reply")


async def test_the_breaker_of_a_sick_primary_gates_it_alone() -> None:
    sick, well = FakeNode(1), FakeNode(2)
    breakers = Breakers({})
    guard = ClusterGuard(lambda: [sick, well], breakers)
    gated: list[bool] = []
    guard.on_gated(gated.append)
    await guard.check()
    sick.failed, well.answered = 100, 100
    await guard.check()
    assert sick.admits is not None
    assert well.admits is None
    states = breakers.states()
    assert states["store@host:2"] == "closed" != states["store@host:1"]
    assert gated == [False, True]


async def test_a_primary_that_leaves_is_guarded_no_more() -> None:
    nodes = [FakeNode(1)]
    guard = ClusterGuard(lambda: list(nodes), Breakers({}))
    gated: list[bool] = []
    guard.on_gated(gated.append)
    await guard.check()
    nodes[0].failed = 100
    await guard.check()
    nodes[:] = [FakeNode(2)]
    await guard.check()
    assert gated == [False, True, False]


async def test_a_reload_keeps_the_breakers_and_their_table() -> None:
    breakers = Breakers({})
    guard = ClusterGuard(lambda: [FakeNode(1)], breakers)
    await guard.check()
    breakers.retain(["store"])
    assert breakers.of("store@host:1").table == breakers.of("store").table
    assert list(breakers.states()) == ["store@host:1", "store"]
