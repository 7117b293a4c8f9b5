from __future__ import annotations

import pytest

from cart.ids import new_cart_id, order_id_for
from cart.model import OrderId
from checkout.archive.messages import ArchivedMessages
from checkout.errors import OrderElsewhere, OrderNotFound
from checkout.ports.archive import ArchiveUnavailable
from checkout.processor import Later

ORDER_ID = order_id_for(new_cart_id(), 1)


class Archived:
    """An archive with one order, or one that fails."""

    def __init__(self, *, has_ended: bool = False, is_there: bool = True, error: Exception | None = None) -> None:
        self._has_ended = has_ended
        self._is_there = is_there
        self._error = error
        self.restored: list[OrderId] = []

    async def has_ended(self, order_id: OrderId) -> bool:
        if isinstance(self._error, ArchiveUnavailable):
            raise self._error
        return self._has_ended

    async def restore(self, order_id: OrderId) -> bool:
        if self._error is not None:
            raise self._error
        if self._is_there:
            self.restored.append(order_id)
        return self._is_there


def messages(archived: Archived, *, stored: bool = False) -> ArchivedMessages:
    async def process(order_id: OrderId) -> Later | None:
        if not stored and order_id not in archived.restored:
            raise OrderNotFound
        return Later(7.0)

    return ArchivedMessages(process, archived)  # type: ignore[arg-type]


async def test_an_order_in_the_store_is_processed() -> None:
    assert await messages(archived := Archived(), stored=True).process(ORDER_ID) == Later(7.0)
    assert not archived.restored


async def test_a_late_message_of_an_order_that_has_ended_is_done_with() -> None:
    assert await messages(archived := Archived(has_ended=True)).process(ORDER_ID) is None
    assert not archived.restored


async def test_an_order_in_flight_that_the_store_has_lost_is_restored_and_goes_on() -> None:
    assert await messages(archived := Archived()).process(ORDER_ID) == Later(7.0)
    assert archived.restored == [ORDER_ID]


async def test_an_order_that_is_nowhere_is_not_found() -> None:
    with pytest.raises(OrderNotFound):
        await messages(Archived(is_there=False)).process(ORDER_ID)


async def test_an_order_of_another_region_is_not_found() -> None:
    with pytest.raises(OrderNotFound):
        await messages(Archived(error=OrderElsewhere("us-east-1"))).process(ORDER_ID)


async def test_a_message_waits_while_the_archive_is_away() -> None:
    later = await messages(Archived(error=ArchiveUnavailable("away"))).process(ORDER_ID)
    assert later == Later(10.0)
