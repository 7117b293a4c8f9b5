"""A breaker for each primary of a cluster."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
    breakers = Breakers({})
    guard = ClusterGuard(lambda: list(nodes), breakers)
    gated: list[bool] = []
    guard.on_gated(gated.append)
    await guard.check()
    nodes[0].failed = 100
    await guard.check()
    nodes[:] = [FakeNode(2)]
    await guard.check()
    assert gated == [False, True, False]
    assert list(breakers.states()) == ["store@host:2"]


async def test_a_primary_that_comes_back_at_its_address_keeps_its_breaker() -> None:
    nodes = [FakeNode(1)]
    breakers = Breakers({})
    guard = ClusterGuard(lambda: list(nodes), breakers)
    await guard.check()
    nodes[:] = [FakeNode(1)]
    await guard.check()
    assert list(breakers.states()) == ["store@host:1"]


async def test_a_store_rejects_everything_only_if_all_its_servers_do() -> None:
    breakers = Breakers({})
    assert not breakers.are_rejecting("store")
    await ClusterGuard(lambda: [FakeNode(1), FakeNode(2)], breakers).check()
    breakers.trip("store@host:1", "a drill")
    assert not breakers.are_rejecting("store")
    assert not breakers.are_closed("store")
    breakers.trip("store@host:2", "a drill")
    assert breakers.are_rejecting("store")


async def test_a_drill_on_the_store_is_one_on_each_of_its_servers() -> None:
    breakers = Breakers({})
    await ClusterGuard(lambda: [FakeNode(1), FakeNode(2)], breakers).check()
    breakers.trip("store", "a drill")
    assert set(breakers.states().values()) == {"open"}
    breakers.release("store")
    assert not breakers.are_rejecting("store")
    with pytest.raises(KeyError):
        breakers.trip("none", "a drill")


async def test_a_reload_keeps_the_breakers_and_their_table() -> None:
    breakers = Breakers({})
    guard = ClusterGuard(lambda: [FakeNode(1)], breakers)
    await guard.check()
    breakers.retain(["store"])
    assert breakers.of("store@host:1").table == breakers.of("store").table
    assert list(breakers.states()) == ["store@host:1", "store"]
