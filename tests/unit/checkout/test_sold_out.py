from collections.abc import Callable

import pytest

from cart.model import Sku
from checkout.errors import Shortage
from checkout.sold_out import LISTENING_S, MAX_SKUS, REMEMBERED_S, SoldOut

MUG, BOX = Sku("mug"), Sku("box")


class Notices:
    def __init__(self) -> None:
        self.listeners: dict[Sku, list[Callable[[], None]]] = {}

    def listen(self, sku: Sku, listener: Callable[[], None]) -> None:
        self.listeners.setdefault(sku, []).append(listener)

    def forget(self, sku: Sku, listener: Callable[[], None]) -> None:
        self.listeners[sku].remove(listener)
        if not self.listeners[sku]:
            del self.listeners[sku]

    def tell(self, sku: Sku) -> None:
        for listener in self.listeners.get(sku, ()):
            listener()


class Memory:
    def __init__(self) -> None:
        self.now = 100.0
        self.notices = Notices()
        self._sold_out = SoldOut(self.notices, clock=lambda: self.now)
        self.units_left = self._sold_out.units_left

    def refuse(self, sku: Sku, *, left: int = 0) -> None:
        self._sold_out.remember([Shortage(sku, left + 1, left)])


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_a_refused_sku_is_remembered_for_a_second_with_the_units_left(memory: Memory) -> None:
    assert memory.units_left() == {}
    memory.refuse(MUG, left=1)
    memory.now += REMEMBERED_S / 2
    memory.refuse(BOX)
    assert memory.units_left() == {MUG: 1, BOX: 0}
    memory.now += REMEMBERED_S / 2
    assert memory.units_left() == {BOX: 0}
    memory.now += REMEMBERED_S / 2
    assert memory.units_left() == {}


def test_a_returned_unit_ends_the_memory_at_once(memory: Memory) -> None:
    memory.refuse(MUG)
    memory.refuse(BOX)
    memory.notices.tell(MUG)
    assert memory.units_left() == {BOX: 0}
    memory.refuse(MUG)
    assert memory.units_left() == {BOX: 0, MUG: 0}


def test_it_listens_as_long_as_the_crowd_comes_back(memory: Memory) -> None:
    for _ in range(5):
        memory.refuse(MUG)
        memory.now += LISTENING_S - 1
        assert memory.units_left() == {}
        assert len(memory.notices.listeners[MUG]) == 1
    memory.now += 1
    memory.units_left()
    assert memory.notices.listeners == {}


def test_more_skus_than_a_checkout_can_compare_are_not_remembered(memory: Memory) -> None:
    for number in range(MAX_SKUS + 5):
        memory.refuse(Sku(str(number)))
    assert len(memory.units_left()) == MAX_SKUS
    memory.refuse(Sku("0"), left=2)
    assert memory.units_left()[Sku("0")] == 2
    memory.now += LISTENING_S
    memory.units_left()
    memory.refuse(MUG)
    assert memory.units_left() == {MUG: 0}


def test_without_notices_it_lasts_for_its_second() -> None:
    now = 0.0
    memory = SoldOut(clock=lambda: now)
    memory.remember([Shortage(MUG, 1, 0)])
    assert memory.units_left() == {MUG: 0}
    now = LISTENING_S
    assert memory.units_left() == {}
