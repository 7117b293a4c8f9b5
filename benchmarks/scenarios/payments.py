"""Orders on a payment service that charges and hangs, stores failures and forgets keys: nothing may be charged twice.

`python -m benchmarks.scenarios.payments [--quick]` runs 100,000 orders for each adapter in virtual time, on a stand-in of the service in
the same process. Workers die between any two calls, shoppers cancel, carriers decline, and some orders wait for more than a
day, which is longer than a key lives. A further, smaller run is over sockets. It counts, so a busy machine changes only how
long it takes.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import logging
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import aiohttp

from benchmarks.harness.command import exit_code_of
from benchmarks.harness.results import Result, results_table, write_results
from benchmarks.harness.virtual_time import loop_time, run_in_virtual_time
from benchmarks.upstreams.payment_server import InProcessTransport, serving
from benchmarks.upstreams.payment_stand_in import Fault, PaymentStandIn
from cart.ids import new_cart_id, order_id_for
from cart.memory import MemoryCarts
from cart.model import OrderId, Sku
from checkout.amounts import OrderLine
from checkout.errors import Declined, StatusConflict
from checkout.fact_handlers import fact_handlers
from checkout.guarded import GuardedPayments
from checkout.memory.order_index import MemoryOrderIndex
from checkout.memory.orders import MemoryOrders
from checkout.memory.progress import MemoryProgress
from checkout.memory.stock import MemoryStock
from checkout.order import Address, HistoryEntry, Order
from checkout.order_status import CANCELLABLE, OrderStatus
from checkout.payments.aiohttp_transport import AiohttpTransport
from checkout.payments.http import HttpPayments
from checkout.payments.order_payments import OrderPayments
from checkout.payments.stripe import StripePayments
from checkout.payments.transport import Transport
from checkout.ports.orders import Receipt
from checkout.ports.payments import PaymentProvider
from checkout.ports.stock import StockLine
from checkout.processor import LEASE_S, OrderProcessor
from checkout.sandbox import SandboxNotifications
from checkout.shipping.sandbox import SandboxShipping
from checkout.workflow.orders import LATEST
from checkout.workflow.runner import Workflow, order_steps
from primitives.webhook_signature import WebhookSigner

START_S: Final = 1_795_000_000
MUG: Final = Sku("85123A")
SECRET: Final = "whsec_" + base64.b64encode(b"of the scenario, 24 bytes").decode()
WORKERS: Final = 4
# Of Stripe's documentation: under a minute.
SEARCH_LAG_S: Final = 30.0
MAX_LOOK_UPS: Final = 3
# Of each call that changes something; the rest goes well.
FAULTS: Final = {Fault.HANGS: 0.05, Fault.LOST: 0.01, Fault.FAILS: 0.01, Fault.FAILS_LATE: 0.01}
KILLED: Final = 0.01
DECLINED: Final = 0.05
NO_CARRIER: Final = 0.03
CANCELLED: Final = 0.05
# Of the pauses before another run; the others are those of the processor.
DAY_LATER: Final = 0.10
DAY_LATER_S: Final = 25 * 3600.0
_AT_ONCE: Final = 2_000
_SOCKETS: Final = 50
_MAX_RUNS: Final = 60

T = TypeVar("T")


class Killed(BaseException):
    """The worker dies at this instruction."""


@dataclass
class Tally:
    """The look-ups of each order since its last other call, and the most of them; calls and kills."""

    since: Counter[OrderId] = field(default_factory=Counter)
    most: Counter[OrderId] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    kills: int = 0


class MortalProvider:
    """A `PaymentProvider` whose caller may die before or after each call."""

    def __init__(self, provider: PaymentProvider, tally: Tally, chance: random.Random) -> None:
        self._provider = provider
        self._tally = tally
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._provider, name)
        return (
            method
            if not callable(method)
            else lambda order, *args, **kwargs: self._call(name, order, lambda: method(order, *args, **kwargs))
        )

    async def _call(self, name: str, order: Order, act: Callable[[], Awaitable[T]]) -> T:
        self._tally.calls[name] += 1
        if name != "look_up":
            self._tally.since[order.id] = 0
        self._die_perhaps()
        result = await act()
        self._die_perhaps()
        if name == "look_up":  # and a worker lives that has its result
            self._tally.since[order.id] += 1
            self._tally.most[order.id] = max(self._tally.most[order.id], self._tally.since[order.id])
        return result

    def _die_perhaps(self) -> None:
        if self._chance.random() < KILLED / 2:
            self._tally.kills += 1
            raise Killed


class Unguarded:
    """A `Guard` that cuts nothing off: one call in twelve fails, in no outage."""

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """See `Guard.call`."""
        return await work()


class SomeCarrier(SandboxShipping):
    """A carrier that declines some orders."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._declines: dict[OrderId, bool] = {}

    async def arrange(self, order: Order) -> Any:
        """See `Shipping.arrange`."""
        if self._declines.setdefault(order.id, self._chance.random() < NO_CARRIER):
            raise Declined("no carrier goes there")
        return await super().arrange(order)


class Shop:
    """Orders, their workers, and the payment service; each draw of chance is the same in every run."""

    def __init__(
        self,
        stand_in: PaymentStandIn,
        provider: PaymentProvider,
        *,
        seed: int,
        deadline_s: float,
        day_later: float = 0.0,
    ) -> None:
        self.chance = random.Random(seed)
        self.stand_in = stand_in
        self._day_later = day_later
        self.tally = Tally()
        self.orders = MemoryOrders(MemoryCarts(), clock_ms=now_ms)
        self.stock = MemoryStock({MUG: 10_000_000}, clock_ms=now_ms)
        self.progress = MemoryProgress(self.orders, lease_ms=round(LEASE_S * 1000), clock_ms=now_ms)
        self._index = MemoryOrderIndex()
        self._carrier = SomeCarrier(self.chance)
        guarded = GuardedPayments(provider, Unguarded(), deadline_s=deadline_s)
        self._provider = MortalProvider(guarded, self.tally, self.chance)
        self._workers = [self._worker(number) for number in range(WORKERS)]
        stand_in.fault = self._fault

    def _fault(self, _operation: str) -> Fault:
        draw = self.chance.random()
        for fault, share in FAULTS.items():
            if draw < share:
                return fault
            draw -= share
        return Fault.NONE

    def _worker(self, number: int) -> OrderProcessor:
        return OrderProcessor(
            self.progress,
            self._workflow(leaves_on_timeout=True),
            self._workflow(leaves_on_timeout=False),
            holder=f"worker {number}",
            concurrency=4 * _AT_ONCE,
            patience_s=float("inf"),
            clock=loop_time,
            chance=self.chance.random,
        )

    def _workflow(self, *, leaves_on_timeout: bool) -> Workflow:
        payments = OrderPayments(self._provider, clock_ms=now_ms)
        steps = order_steps(
            index=self._index,
            stock=self.stock,
            payments=payments,
            shipping=self._carrier,
            notifications=SandboxNotifications(),
        )
        return Workflow(
            self.orders,
            steps,
            facts=fact_handlers(stock=self.stock, payments=payments, clock_ms=now_ms),
            leaves_on_timeout=leaves_on_timeout,
            clock_ms=now_ms,
            chance=self.chance.random,
        )

    async def accept(self) -> Order:
        """An order, as checkout stores it."""
        order = an_order("tok_declined" if self.chance.random() < DECLINED else "tok_ok")
        await self.stock.hold(order.id, [StockLine(MUG, 2)], fence=1)
        self.orders.orders[order.id] = Receipt(order, "key", "fingerprint", is_durable=True)
        return order

    async def complete(self, order: Order) -> None:
        """Run the order until it has ended, by one worker after the other."""
        cancels_at = self.chance.randrange(4) if self.chance.random() < CANCELLED else None
        for run in range(_MAX_RUNS):
            if run == cancels_at:
                await self._cancel(order.id)
            try:
                later = await self.chance.choice(self._workers).process(order.id)
            except Killed:
                delay_s = LEASE_S + 1
            else:
                if later is None:
                    return
                delay_s = later.delay_s
            await asyncio.sleep(DAY_LATER_S if self.chance.random() < self._day_later else delay_s)

    async def _cancel(self, order_id: OrderId) -> None:
        order = self.orders.orders[order_id].order
        if order.status in CANCELLABLE:
            try:
                await self.orders.cancel(order, at=now_ms(), message=b"")
            except StatusConflict:
                return

    async def work_off(self, count: int, *, at_once: int = _AT_ONCE) -> None:
        """Accept and complete so many orders, `at_once` at a time."""
        left = iter(range(count))

        async def one_after_the_other() -> None:
            for _ in left:
                await self.complete(await self.accept())

        await asyncio.gather(*(one_after_the_other() for _ in range(min(at_once, count))))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts of orders with a fault in money or stock, and of all that happened."""

    orders: int
    completed: int
    charged_twice: int
    not_charged: int
    not_returned: int
    double_holds: int
    unended: int
    most_look_ups: int
    stock_missing: int
    unknown: int
    look_ups: int
    kills: int
    set_aside: int


def outcome_of(shop: Shop, set_aside: int) -> Outcome:
    """Compare the orders with the ledger of the payment service."""
    money: dict[str, Counter[str]] = defaultdict(Counter)
    for movement in shop.stand_in.ledger:
        money[movement.order_id][movement.kind] += movement.amount
    orders = [receipt.order for receipt in shop.orders.orders.values()]
    completed = [order for order in orders if order.status is OrderStatus.COMPLETED]
    cancelled = [order for order in orders if order.status is OrderStatus.CANCELLED]
    held = [money[order.id] for order in completed]
    # A payment may be refunded or voided, and not both.
    returned = [money[order.id] for order in cancelled]
    return Outcome(
        orders=len(orders),
        completed=len(completed),
        charged_twice=sum(money[order.id]["captured"] > order.total for order in orders),
        not_charged=sum(money[order.id]["captured"] - money[order.id]["refunded"] < order.total for order in completed),
        not_returned=sum(each["authorised"] != each["voided"] + each["refunded"] for each in returned),
        double_holds=sum(each["authorised"] - each["voided"] > each["captured"] for each in held),
        unended=len(orders) - len(completed) - len(cancelled),
        most_look_ups=max(shop.tally.most.values(), default=0),
        stock_missing=abs(10_000_000 - shop.stock.available[MUG] - 2 * len(completed)),
        unknown=sum(count for (_, fault), count in shop.stand_in.faults.items() if fault in FAULTS),
        look_ups=shop.tally.calls["look_up"],
        kills=shop.tally.kills,
        set_aside=set_aside,
    )


def simulate(adapter: str, *, orders: int, seed: int = 1) -> Outcome:
    """So many orders in virtual time, on the stand-in in this process."""

    async def run() -> Outcome:
        signer = WebhookSigner(SECRET, clock=now_s)
        stand_in = PaymentStandIn(
            signer=None if adapter == "stripe" else signer, search_lag_s=SEARCH_LAG_S, clock=now_s
        )
        provider = provider_of(adapter, InProcessTransport(stand_in, keeps_requests=False), signer)
        return await _outcome(Shop(stand_in, provider, seed=seed, deadline_s=4.0, day_later=DAY_LATER), orders)

    return run_in_virtual_time(run())


async def over_sockets(adapter: str, *, orders: int, seed: int = 1) -> Outcome:
    """So many orders on a server in this process; a deadline is 0.5 s, and no order waits for a day."""
    signer = WebhookSigner(SECRET, clock=now_s)
    stand_in = PaymentStandIn(signer=None if adapter == "stripe" else signer, clock=now_s)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(stand_in))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        provider = provider_of(adapter, AiohttpTransport(session, url), signer)
        return await _outcome(Shop(stand_in, provider, seed=seed, deadline_s=0.5), orders, at_once=_SOCKETS)


async def _outcome(shop: Shop, orders: int, *, at_once: int = _AT_ONCE) -> Outcome:
    await shop.work_off(orders, at_once=at_once)
    return outcome_of(shop, len(await shop.progress.needing_attention()))


def provider_of(adapter: str, transport: Transport, signer: WebhookSigner) -> PaymentProvider:
    """The adapter on this transport."""
    return (
        StripePayments(transport, api_key="sk_test_scenario")
        if adapter == "stripe"
        else HttpPayments(transport, signer)
    )


def an_order(token: str) -> Order:
    """An order of two mugs."""
    cart_id, at = new_cart_id(), now_ms()
    return Order(
        id=order_id_for(cart_id, 3),
        cart_id=cart_id,
        currency="GBP",
        lines=(OrderLine(MUG, "WHITE HANGING HEART T-LIGHT HOLDER", 2, 255),),
        shipping_method="standard",
        shipping=495,
        email="ada@example.com",
        shipping_address=Address("Ada Lovelace", "12 St James's Square", "London", "SW1Y 4JH", "GB"),
        payment_token=token,
        created_at=at,
        updated_at=at,
        history=(HistoryEntry(OrderStatus.ACCEPTED, at),),
        workflow=LATEST.version,
    )


def now_s() -> float:
    """The time of the scenario, in Unix seconds."""
    return START_S + loop_time()


def now_ms() -> int:
    """The time of the scenario, in Unix milliseconds."""
    return round(now_s() * 1000)


def results_of(name: str, outcome: Outcome) -> list[Result]:
    """The counts, those with targets first."""
    return [
        Result(f"{name}: orders charged twice", outcome.charged_twice, "", 0),
        Result(f"{name}: completed orders not charged in full", outcome.not_charged, "", 0),
        Result(f"{name}: cancelled orders not voided or refunded", outcome.not_returned, "", 0),
        Result(f"{name}: completed orders with a second hold left", outcome.double_holds, "", 0),
        Result(f"{name}: most look-ups for one unknown outcome", outcome.most_look_ups, "", MAX_LOOK_UPS),
        Result(f"{name}: units of stock missing", outcome.stock_missing, "", 0),
        Result(f"{name}: orders that did not end", outcome.unended + outcome.set_aside, "", 0),
        Result(f"{name}: orders", outcome.orders, "", note=f"{outcome.completed} completed"),
        Result(f"{name}: calls with a fault", outcome.unknown, "", note=f"{outcome.kills} kills of workers"),
        Result(f"{name}: look-ups", outcome.look_ups, ""),
    ]


def main() -> int:
    """Entry point of `make bench-payments`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.payments", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="2,000 orders, results not written")
    parser.add_argument("--orders", type=int, help="orders for each adapter (default: 100000)")
    args = parser.parse_args()
    logging.disable(logging.ERROR)  # a line for each order that waits
    orders = args.orders or (2_000 if args.quick else 100_000)
    return exit_code_of("payments", lambda: measure(orders=orders, keep=not args.quick))


def measure(*, orders: int, keep: bool) -> list[Result]:
    """Measure, print the results and, if wanted, write results/payments.json."""
    results = []
    for adapter in ("http", "stripe"):
        began_at = time.monotonic()
        of_adapter = results_of(adapter, simulate(adapter, orders=orders))
        results += [*of_adapter, Result(f"{adapter}: took", time.monotonic() - began_at, "s")]
        print(results_table(of_adapter), flush=True)
    of_sockets = results_of("over sockets", asyncio.run(over_sockets("http", orders=orders // 200)))
    results += of_sockets
    print(results_table(of_sockets))
    if keep:
        settings = {"orders": orders, "faults": {fault.value: share for fault, share in FAULTS.items()}}
        print(f"\nwritten to {write_results('payments', settings, {}, results)}")
    return results


if __name__ == "__main__":
    sys.exit(main())
