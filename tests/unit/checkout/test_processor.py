"""One run of an order: its lease, and the account of its own failures."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cart.model import OrderId
from checkout.errors import DependencyTripped, OrderNotFound
from checkout.facts import PaymentFact
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.payments.sandbox import PaymentState
from checkout.ports.progress import SUSPECT_DEATHS, Busy, Taken
from checkout.processor import LEASE_S, MAX_FAILURES, Later, OrderProcessor
from tests.unit.checkout.fake_services import MUG, FakeServices, Killed
from tests.virtual_time import in_virtual_time, loop_time, pause


class StoreAway(Exception):
    """An outage of the store."""


def is_outage(error: Exception) -> bool:
    return isinstance(error, StoreAway)


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


class Port:
    """A port of which one method behaves as a test says."""

    def __init__(self, port: Any, name: str, act: Callable[[Order], Any]) -> None:
        self._port = port
        self._name = name
        self._act = act

    def __getattr__(self, name: str) -> Any:
        return self._act if name == self._name else getattr(self._port, name)


async def never(*_args: Any) -> None:
    await asyncio.Event().wait()


def raising(error: BaseException) -> Callable[..., Any]:
    async def act(*_args: Any, **_options: Any) -> None:
        raise error

    return act


async def process_all(processor: OrderProcessor, order: Order) -> list[Later]:
    """Process the order again and again, as a queue would; returns how often and when it was put back."""
    laters: list[Later] = []
    while (later := await processor.process(order.id)) is not None:
        laters.append(later)
        await asyncio.sleep(later.delay_s)
    return laters


async def attention(services: FakeServices) -> dict[str, str]:
    return {entry.order_id: entry.reason for entry in await services.progress.needing_attention()}


@in_virtual_time
async def test_an_order_is_completed_in_one_run(services: FakeServices) -> None:
    order = await services.accept()
    processor = services.processor()

    assert await processor.process(order.id) is None

    assert services.now(order).status is OrderStatus.COMPLETED
    assert (processor.counts.ended, processor.counts.failed) == (1, 0)
    assert services.faults.calls.count("MemoryProgress.take") == 1
    assert not any(call.startswith("MemoryOrders.read") for call in services.faults.calls)


@in_virtual_time
async def test_a_fast_order_costs_no_call_for_its_lease_but_the_one_that_reads_it(services: FakeServices) -> None:
    order = await services.accept()
    await services.processor().process(order.id)
    assert [call for call in services.faults.calls if "Progress" in call] == ["MemoryProgress.take"]


@in_virtual_time
async def test_an_unknown_order_is_not_found(services: FakeServices) -> None:
    with pytest.raises(OrderNotFound):
        await services.processor().process(OrderId("7f" + "a" * 24))


# --- one worker for each order


@in_virtual_time
async def test_two_workers_never_run_one_order_at_the_same_time(services: FakeServices) -> None:
    running = most = 0

    async def authorise(order: Order) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(3)
        running -= 1
        await services.payments.authorise(order)

    order = await services.accept()
    ports = {"payments": Port(services.payments, "authorise", authorise)}
    workers = [services.processor(holder=name, ports=ports) for name in ("one", "two", "two again")]

    await asyncio.gather(*(process_all(worker, order) for worker in [*workers, workers[0]]))

    assert most == 1
    assert services.ledger(order) == [PaymentState.AUTHORISED, PaymentState.CAPTURED]
    assert services.now(order).status is OrderStatus.COMPLETED


@in_virtual_time
async def test_a_fact_that_comes_during_a_run_does_not_wait_for_the_end_of_its_lease(services: FakeServices) -> None:
    order = await services.accept()
    fact = PaymentFact("payment:1", 1, "captured", amount=order.total)

    async def capture(order: Order) -> Any:
        """The webhook is faster than the response."""
        await services.orders.append_fact(order.id, fact, message=b"{}")
        return await services.payments.capture(order)

    first = services.processor(ports={"payments": Port(services.payments, "capture", capture)}, holder="one")
    assert await first.process(order.id) is None
    assert services.now(order).facts == (fact,)
    assert await services.processor(holder="two").process(order.id) is None
    assert services.now(order).facts == ()
    taken = await services.progress.take(order.id, "three")
    assert isinstance(taken, Taken)
    assert taken.deaths == 0


@in_virtual_time
async def test_a_worker_whose_lease_went_to_another_begins_no_further_step(services: FakeServices) -> None:
    calls: list[str] = []

    async def freeze_once(order: Order) -> None:
        calls.append("first")
        pause(LEASE_S + 1)
        assert isinstance(await services.progress.take(order.id, "other"), Taken)

    order = await services.accept()
    ports = {"payments": Port(services.payments, "authorise", freeze_once)}

    later = await services.processor(ports=ports).process(order.id)

    assert isinstance(later, Later)
    assert calls == ["first"]
    assert not services.shipping.booked.get(order.id)
    assert isinstance(await services.progress.take(order.id, "third"), Busy)


@in_virtual_time
async def test_a_slow_order_renews_its_lease(services: FakeServices) -> None:
    order = await services.accept()

    async def slow(_order: Order) -> None:
        await asyncio.sleep(4.5)

    ports = {
        "payments": Port(services.payments, "authorise", slow),
        "shipping": Port(services.shipping, "arrange", slow),
        "notifications": Port(services.notifications, "order_completed", slow),
    }
    running = asyncio.ensure_future(services.processor(ports=ports).process(order.id))
    await asyncio.sleep(0.1)
    while not running.done():
        assert not isinstance(await services.progress.take(order.id, "other"), Taken) or running.done()
        await asyncio.sleep(0.5)
    assert loop_time() > LEASE_S
    assert await running is None


@in_virtual_time
async def test_an_order_of_a_dead_worker_is_taken_when_its_lease_is_over(services: FakeServices) -> None:
    order = await services.accept()
    ports = {"payments": Port(services.payments, "authorise", raising(Killed()))}
    with pytest.raises(Killed):
        await services.processor(holder="dead", ports=ports).process(order.id)

    laters = await process_all(services.processor(holder="next"), order)

    assert len(laters) == 1
    assert LEASE_S <= loop_time() < LEASE_S + 1
    assert services.now(order).status is OrderStatus.COMPLETED


@in_virtual_time
async def test_a_worker_that_stops_gives_its_lease_back(services: FakeServices) -> None:
    order = await services.accept(token="tok_slow")
    running = asyncio.ensure_future(services.processor(holder="stopping").process(order.id))
    await asyncio.sleep(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    taken = await services.progress.take(order.id, "next")

    assert isinstance(taken, Taken)
    assert (taken.failures, taken.deaths) == (0, 0)


# --- the account of failures


@pytest.mark.parametrize("kills", [5, SUSPECT_DEATHS + MAX_FAILURES - 1])
@in_virtual_time
async def test_deaths_of_workers_use_up_no_order(services: FakeServices, kills: int) -> None:
    orders = [await services.accept() for _ in range(20)]
    # Every worker is killed while it works on all that it may take.
    dying = {"payments": Port(services.payments, "authorise", raising(Killed()))}
    for number in range(kills):
        worker = services.processor(holder=f"victim {number}", ports=dying)
        ends = await asyncio.gather(*(worker.process(order.id) for order in orders), return_exceptions=True)
        assert any(isinstance(end, Killed) for end in ends)
        await asyncio.sleep(LEASE_S + 1)

    last = services.processor(holder="last")
    await asyncio.gather(*(process_all(last, order) for order in orders))

    assert {services.now(order).status for order in orders} == {OrderStatus.COMPLETED}
    assert not await attention(services)
    assert last.counts.failed == 0


@in_virtual_time
async def test_an_order_that_kills_every_worker_is_set_aside(
    services: FakeServices, caplog: pytest.LogCaptureFixture
) -> None:
    order = await services.accept()
    ports = {"payments": Port(services.payments, "authorise", raising(Killed()))}
    deaths = 0
    while order.id not in await attention(services):
        try:
            await services.processor(holder=f"worker {deaths}", ports=ports).process(order.id)
        except Killed:
            deaths += 1
        await asyncio.sleep(LEASE_S + 1)

    assert deaths == SUSPECT_DEATHS + MAX_FAILURES
    assert f"order {order.number} needs attention" in caplog.text
    assert await services.processor().process(order.id) is None
    assert services.now(order).status is OrderStatus.STOCK_CONFIRMED


@in_virtual_time
async def test_orders_that_several_workers_died_with_run_one_at_a_time(services: FakeServices) -> None:
    suspects = [await services.accept(token="tok_slow") for _ in range(3)]
    for number in range(SUSPECT_DEATHS):
        for order in suspects:
            await services.progress.take(order.id, f"dead {number}")
        await asyncio.sleep(LEASE_S + 1)
    fresh = [await services.accept() for _ in range(3)]
    processor = services.processor()

    first = await asyncio.gather(*(processor.process(order.id) for order in [*suspects, *fresh]))
    assert [later is None for later in first] == [True, False, False, True, True, True]

    for order in suspects:
        await process_all(processor, order)
    assert {services.now(order).status for order in services.accepted} == {OrderStatus.COMPLETED}


@in_virtual_time
async def test_a_failure_is_tried_again_after_2_8_32_and_120_seconds(services: FakeServices) -> None:
    order = await services.accept()
    ports = {"payments": Port(services.payments, "capture", raising(RuntimeError("a bug")))}
    processor = services.processor(ports=ports, chance=lambda: 1.0)

    laters = await process_all(processor, order)

    assert [later.delay_s for later in laters] == [2, 8, 32, 120]
    assert not any(later.by_outage for later in laters)
    assert processor.counts.failed == MAX_FAILURES


@in_virtual_time
async def test_an_order_that_fails_after_its_payment_was_asked_for_is_set_aside(
    services: FakeServices, caplog: pytest.LogCaptureFixture
) -> None:
    order = await services.accept()
    ports = {"payments": Port(services.payments, "capture", raising(RuntimeError("a bug")))}
    processor = services.processor(ports=ports)

    await process_all(processor, order)

    reason = (await attention(services))[order.id]
    assert "its payment may be captured" in reason
    assert "RuntimeError: a bug" in reason
    assert services.now(order).status is OrderStatus.SHIPPING_ARRANGED
    assert services.sold() == 2
    assert processor.counts.set_aside == 1
    assert f"order {order.number} needs attention: {reason}" in caplog.text
    # A duplicate of its message, or one that was posted again, changes nothing.
    assert await services.processor().process(order.id) is None
    assert services.now(order).status is OrderStatus.SHIPPING_ARRANGED


@in_virtual_time
async def test_an_order_that_fails_before_its_payment_is_cancelled_and_its_stock_returned(
    services: FakeServices, caplog: pytest.LogCaptureFixture
) -> None:
    order = await services.accept()
    ports = {"stock": Port(services.stock, "confirm", raising(RuntimeError("a bug")))}

    await process_all(services.processor(ports=ports), order)

    now = services.now(order)
    assert (now.status, now.reason) == (OrderStatus.CANCELLED, CancelReason.NOT_PROCESSED)
    assert "RuntimeError: a bug" in (now.history[-1].detail or "")
    assert services.sold() == services.stock.taken(MUG) == 0
    assert not await attention(services)
    assert f"order {order.number} is cancelled" in caplog.text


@in_virtual_time
async def test_an_order_whose_stock_cannot_be_returned_either_is_set_aside(services: FakeServices) -> None:
    order = await services.accept()
    broken = Port(services.stock, "confirm", raising(RuntimeError("a bug")))
    ports = {"stock": Port(broken, "cancel", raising(RuntimeError("another")))}

    await process_all(services.processor(ports=ports), order)

    assert "could not be cancelled: RuntimeError: another" in (await attention(services))[order.id]
    assert services.now(order).status is OrderStatus.CANCELLED


@in_virtual_time
async def test_an_order_that_cannot_be_read_is_set_aside_with_its_id(services: FakeServices) -> None:
    order = await services.accept()
    services.orders.read = raising(msgspec.ValidationError("odd"))  # type: ignore[method-assign]

    laters = await process_all(services.processor(), order)

    assert len(laters) == MAX_FAILURES - 1
    assert "ValidationError: odd" in (await attention(services))[order.id]


@in_virtual_time
async def test_an_outage_of_the_store_is_no_failure_of_an_order(services: FakeServices) -> None:
    order = await services.accept()
    away = {"stock": Port(services.stock, "confirm", raising(StoreAway()))}
    for _ in range(3 * MAX_FAILURES):
        later = await services.processor(ports=away, is_outage=is_outage).process(order.id)
        assert later is not None
        assert later.by_outage

    taken = await services.progress.take(order.id, "next")

    assert isinstance(taken, Taken)
    assert (taken.failures, taken.deaths, taken.unanswered_runs) == (0, 0, 0)


@pytest.mark.parametrize("call", ["take", "put_back", "renew"])
@in_virtual_time
async def test_an_outage_while_progress_is_recorded_is_no_failure_of_an_order(
    services: FakeServices, call: str
) -> None:
    order = await services.accept(token="tok_slow")
    services.progress = Port(services.progress, call, raising(StoreAway()))  # type: ignore[assignment]

    later = await services.processor(
        is_outage=is_outage, lease_s=0.1, ports={"shipping": Port(services.shipping, "arrange", raising(KeyError(1)))}
    ).process(order.id)

    assert later is not None
    assert later.by_outage


@in_virtual_time
async def test_an_open_breaker_is_no_failure_of_an_order_that_was_never_called(services: FakeServices) -> None:
    order = await services.accept()
    tripped = DependencyTripped("payment", retry_after_s=20.0)
    processor = services.processor(ports={"payments": Port(services.payments, "authorise", raising(tripped))})

    laters = [await processor.process(order.id) for _ in range(100)]
    await asyncio.sleep(100_000)
    laters.append(await processor.process(order.id))

    assert {later and later.delay_s for later in laters} == {30.0}
    assert not await attention(services)


# --- services that do not respond


@in_virtual_time
async def test_a_payment_without_a_response_leaves_its_slot_after_one_deadline(services: FakeServices) -> None:
    order = await services.accept(token="tok_timeout")

    later = await services.processor().process(order.id)

    assert isinstance(later, Later)
    assert loop_time() == pytest.approx(5)
    assert services.now(order).status is OrderStatus.STOCK_CONFIRMED


@in_virtual_time
async def test_an_authorisation_without_a_response_is_cancelled_and_voided(services: FakeServices) -> None:
    order = await services.accept(token="tok_timeout")

    await process_all(services.processor(), order)

    now = services.now(order)
    assert (now.status, now.reason) == (OrderStatus.CANCELLED, CancelReason.PAYMENT_DECLINED)
    assert services.ledger(order) == [PaymentState.VOIDED]
    assert services.sold() == 0
    assert loop_time() < 60


@pytest.mark.parametrize("call", ["capture", "void"])
@in_virtual_time
async def test_a_call_that_must_be_answered_has_a_bound(services: FakeServices, call: str) -> None:
    order = await services.accept(token="tok_ok" if call == "capture" else "tok_declined")
    ports = {"payments": Port(services.payments, call, never)}

    await process_all(services.processor(ports=ports, patience_s=900), order)

    assert "no response to it in 9" in (await attention(services))[order.id]
    assert 900 <= loop_time() < 900 + 250
    # The stock of a cancelled order is returned all the same.
    assert services.sold() == (2 if call == "capture" else 0)


@in_virtual_time
async def test_the_bound_holds_while_a_breaker_is_open(services: FakeServices) -> None:
    order = await services.accept()
    called = DependencyTripped("payment", retry_after_s=20.0, was_called=True)
    rejected = DependencyTripped("payment", retry_after_s=20.0)
    first = services.processor(ports={"payments": Port(services.payments, "authorise", raising(called))})
    assert await first.process(order.id) is not None

    later = services.processor(ports={"payments": Port(services.payments, "authorise", raising(rejected))})
    await process_all(later, order)

    assert "its payment may be authorised" in (await attention(services))[order.id]
    assert 900 <= loop_time() < 1000


@in_virtual_time
async def test_the_bound_begins_anew_when_the_order_advances(services: FakeServices) -> None:
    order = await services.accept()
    hangs = {"payments": Port(services.payments, "authorise", never)}
    await services.processor(ports=hangs).process(order.id)
    await asyncio.sleep(890)
    cut_off = DependencyTripped("shipping", retry_after_s=20.0, was_called=True)
    no_carrier = services.processor(ports={"shipping": Port(services.shipping, "arrange", raising(cut_off))})
    await no_carrier.process(order.id)
    assert services.now(order).status is OrderStatus.PAYMENT_AUTHORISED
    await asyncio.sleep(30)
    await no_carrier.process(order.id)

    assert not await attention(services)
    await asyncio.sleep(30)
    assert await services.processor().process(order.id) is None
    assert services.now(order).status is OrderStatus.COMPLETED


@in_virtual_time
async def test_orders_without_a_response_use_a_quarter_of_the_slots(services: FakeServices) -> None:
    in_call = most = 0

    async def hang(order: Order) -> None:
        nonlocal in_call, most
        in_call += 1
        most = max(most, in_call)
        try:
            await never()
        finally:
            in_call -= 1

    ports = {"payments": Port(services.payments, "authorise", hang)}
    orders = [await services.accept() for _ in range(30)]
    processor = services.processor(ports=ports, concurrency=40)
    await asyncio.gather(*(processor.process(order.id) for order in orders))
    assert most == 30
    most = 0
    await asyncio.sleep(10)

    second = await asyncio.gather(*(processor.process(order.id) for order in orders))

    assert most == 10
    assert second.count(None) == 10  # cancelled; the others wait for a slot
    good = await services.accept()
    assert await services.processor(concurrency=40).process(good.id) is None
