"""A payment service that is down for a minute: orders wait, and are then paid for once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from checkout.order_status import OrderStatus
from checkout.payments.sandbox import PaymentState
from checkout.ports.payments import PaymentNotRun
from gateway.resilience.breaker_model import State
from tests.integration.gateway.resilience.test_orders_behind_breakers import Bench, until
from tests.virtual_time import in_virtual_time, loop_time

DOWN_S = 60.0
DONE_ONCE = [PaymentState.AUTHORISED, PaymentState.CAPTURED]


class Down:
    """A service that is down between two times: a call takes effect without a response, or is not carried out."""

    def __init__(self, service: Any, how: str) -> None:
        self.since_s = 5.0
        self._service = service
        self._how = how

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._service, name)
        if not callable(method):
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.since_s <= loop_time() < self.since_s + DOWN_S:
                if self._how == "refuses":
                    raise PaymentNotRun("connection refused")
                if self._how == "charges and hangs":
                    await method(*args, **kwargs)
                await asyncio.Event().wait()
            return await method(*args, **kwargs)

        return call


class OutageBench(Bench):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.payments._service = Down(self.services.sandbox, how)


@pytest.mark.parametrize("how", ["refuses", "hangs", "charges and hangs"])
@in_virtual_time
async def test_orders_under_load_wait_for_a_minute_and_are_paid_for_once(how: str) -> None:
    bench = OutageBench(how)
    async with bench.working():
        for _ in range(80):  # a second, before, during and after
            await bench.accept(5)
            await asyncio.sleep(1)
        await until(lambda: not len(bench.queue))

    assert bench.breaker("payment").changes[State.OPEN] > 0
    assert bench.statuses() == {OrderStatus.COMPLETED}
    assert all(bench.services.ledger(order) == DONE_ONCE for order in bench.services.accepted)
    assert bench.services.sold() == 2 * len(bench.services.accepted)
    assert not await bench.services.progress.needing_attention()


@pytest.mark.parametrize("count", [1, 3])
@in_virtual_time
async def test_a_single_order_waits_too_for_a_service_that_is_not_reached(count: int) -> None:
    """Fewer calls than open a breaker."""
    bench = OutageBench("refuses")
    async with bench.working():
        await asyncio.sleep(6)
        await bench.accept(count)
        await until(lambda: not len(bench.queue))

    assert bench.statuses() == {OrderStatus.COMPLETED}
    assert all(bench.services.ledger(order) == DONE_ONCE for order in bench.services.accepted)
