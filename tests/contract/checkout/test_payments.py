"""What every payment service promises: the sandbox, a shop's own service behind the HTTP contract, and Stripe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from benchmarks.upstreams.payment_stand_in import AUTHORISED_S
from cart.model import DAY_MS
from checkout.errors import Declined
from checkout.order import Order
from checkout.payments.payment import Payment
from checkout.payments.sandbox import SandboxPayments
from checkout.ports.payments import AuthorisationExpired, PaymentProvider
from tests.payments import NOW_S, PaymentService
from tests.unit.checkout.fake_services import an_order


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """A payment service behind one of the adapters; `ledger` is what it did."""

    def __init__(self, adapter: str) -> None:
        self.clock = Clock()
        self._sandbox = SandboxPayments(clock_ms=lambda: round(self.clock() * 1000))
        self._service = PaymentService(adapter, clock=self.clock)
        self.adapter = adapter
        self.provider: PaymentProvider = self._sandbox if adapter == "sandbox" else self._service.provider

    def ledger(self, order: Order) -> list[tuple[str, int]]:
        if self.adapter == "sandbox":
            return [(entry.became.value, entry.amount) for entry in self._sandbox.ledger]
        return self._service.movements(order.id)

    async def authorised(self, order: Order) -> Payment:
        return await self.provider.authorise(order, number=1, key=f"{order.id}:authorise-1")

    async def captured(self, order: Order) -> Payment:
        return await self.provider.capture(order, await self.authorised(order), key=f"{order.id}:capture")


@pytest.fixture(params=["sandbox", "http", "stripe"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


async def test_an_authorisation_reserves_the_total_for_some_days(bench: Bench) -> None:
    order = an_order()

    payment = await bench.authorised(order)

    assert payment.authorised == order.total
    assert payment.captured == payment.refunded == 0
    assert payment.authorised_until == round(NOW_S * 1000) + 7 * DAY_MS
    assert bench.ledger(order) == [("authorised", order.total)]


@pytest.mark.parametrize("operation", ["authorise", "capture", "void", "refund", "close"])
async def test_the_same_call_with_the_same_key_takes_effect_once(bench: Bench, operation: str) -> None:
    order = an_order()
    payment: Any = None
    if operation != "close":
        payment = await (bench.captured if operation == "refund" else bench.authorised)(order)
    provider = bench.provider
    calls: dict[str, Callable[[], Awaitable[Payment | None]]] = {
        "authorise": lambda: provider.authorise(order, number=1, key=f"{order.id}:authorise-1"),
        "capture": lambda: provider.capture(order, payment, key="c"),
        "void": lambda: provider.void(order, payment, key="v"),
        "refund": lambda: provider.refund(order, payment, 100, refund_id="r1", key="r"),
        "close": lambda: provider.close(order, key="x"),
    }

    first = await calls[operation]()
    ledger = bench.ledger(order)
    again = await calls[operation]()

    assert again == first
    assert bench.ledger(order) == ledger


async def test_a_capture_takes_what_is_authorised(bench: Bench) -> None:
    order = an_order()

    payment = await bench.captured(order)

    assert (payment.captured, payment.refundable) == (order.total, order.total)
    assert bench.ledger(order)[1:] == [("captured", order.total)]


async def test_a_void_releases_what_is_authorised_and_excludes_a_capture(bench: Bench) -> None:
    order = an_order()
    payment = await bench.authorised(order)

    voided = await bench.provider.void(order, payment, key="v")

    assert voided.voided
    assert not voided.holds_money
    with pytest.raises(Declined):
        await bench.provider.capture(order, payment, key="c")
    assert bench.ledger(order) == [("authorised", order.total), ("voided", order.total)]


async def test_the_void_of_a_captured_payment_returns_it_as_it_is(bench: Bench) -> None:
    order = an_order()
    payment = await bench.authorised(order)
    await bench.provider.capture(order, payment, key="c")

    payment = await bench.provider.void(order, payment, key="v")

    assert payment.captured == order.total
    assert not payment.voided


async def test_refunds_in_parts_add_up_and_are_known_by_their_ids(bench: Bench) -> None:
    order = an_order()
    payment = await bench.captured(order)

    payment = await bench.provider.refund(order, payment, 400, refund_id="r1", key="1")
    payment = await bench.provider.refund(order, payment, order.total - 400, refund_id="r2", key="2")

    assert payment.refundable == 0
    found = await bench.provider.look_up(order, payment.reference)
    assert found is not None
    assert found.refunded == order.total
    assert set(found.refund_ids) == {"r1", "r2"}


async def test_no_more_is_refunded_than_was_captured(bench: Bench) -> None:
    order = an_order()
    payment = await bench.captured(order)

    with pytest.raises(Declined):
        await bench.provider.refund(order, payment, order.total + 1, refund_id="r1", key="1")

    assert "refunded" not in dict(bench.ledger(order))


async def test_a_declined_payment_holds_nothing(bench: Bench) -> None:
    order = an_order(token="tok_declined")

    with pytest.raises(Declined):
        await bench.authorised(order)

    found = await bench.provider.look_up(order, None)
    assert found is None or not found.holds_money
    assert bench.ledger(order) == []


@pytest.mark.parametrize("by_reference", [True, False])
async def test_a_look_up_finds_the_payment_in_its_state(bench: Bench, by_reference: bool) -> None:
    order = an_order()
    assert await bench.provider.look_up(order, None) is None
    authorised = await bench.authorised(order)
    reference = authorised.reference if by_reference else None

    assert await bench.provider.look_up(order, reference) == authorised
    captured = await bench.provider.capture(order, authorised, key="c")
    assert await bench.provider.look_up(order, reference) == captured


async def test_a_look_up_changes_nothing(bench: Bench) -> None:
    order = an_order()
    await bench.authorised(order)
    ledger = bench.ledger(order)

    await bench.provider.look_up(order, None)

    assert bench.ledger(order) == ledger


async def test_an_order_that_is_closed_cannot_be_authorised_by_a_late_call(bench: Bench) -> None:
    order = an_order()
    closed = await bench.provider.close(order, key="x")
    assert closed is None or not closed.holds_money

    with pytest.raises(Declined):
        await bench.authorised(order)

    assert "authorised" not in dict(bench.ledger(order))
    found = await bench.provider.look_up(order, None)
    # What excludes an authorisation at Stripe is no payment.
    assert found is None or found.voided


async def test_closing_finds_what_was_authorised_all_the_same(bench: Bench) -> None:
    order = an_order()
    payment = await bench.authorised(order)

    closed = await bench.provider.close(order, key="x")

    assert closed is not None
    assert closed.reference == payment.reference or bench.adapter == "sandbox"


async def test_an_authorisation_that_ran_out_is_refused_as_such_and_can_be_renewed(bench: Bench) -> None:
    order = an_order()
    payment = await bench.authorised(order)
    bench.clock.now_s += AUTHORISED_S + 1
    assert not payment.may_be_captured(at=round(bench.clock() * 1000))

    with pytest.raises(AuthorisationExpired):
        await bench.provider.capture(order, payment, key="c")

    renewed = await bench.provider.authorise(order, number=2, key=f"{order.id}:authorise-2")
    assert (renewed.authorised, renewed.authorisations) == (order.total, 2)
    captured = await bench.provider.capture(order, renewed, key="c2")
    assert captured.captured == order.total
    assert (await bench.provider.look_up(order, None)) == captured


async def test_a_payment_survives_being_stored(bench: Bench) -> None:
    payment = await bench.captured(an_order())

    assert msgspec.json.decode(msgspec.json.encode(payment), type=Payment) == payment
