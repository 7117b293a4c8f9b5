"""The services of the order workflow in memory, with planned faults, for the tests of workflow and worker."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from cart.ids import new_cart_id, order_id_for
from cart.memory import MemoryCarts
from cart.model import Sku
from cart.timestamps import unix_ms
from checkout.amounts import OrderLine
from checkout.errors import Declined, ServiceUnavailable
from checkout.fact_handlers import fact_handlers
from checkout.memory.order_index import MemoryOrderIndex
from checkout.memory.orders import MemoryOrders
from checkout.memory.progress import MemoryProgress
from checkout.memory.stock import MemoryStock
from checkout.message import order_accepted
from checkout.order import Address, HistoryEntry, Order
from checkout.order_status import OrderStatus
from checkout.payments.order_payments import OrderPayments
from checkout.payments.sandbox import PaymentState, SandboxPayments
from checkout.ports.orders import Receipt
from checkout.ports.outbox import OutboxEntry
from checkout.ports.queue import Delivery, Outgoing
from checkout.ports.stock import StockLine
from checkout.processor import LEASE_S, OrderProcessor
from checkout.shipping.sandbox import SandboxShipping
from checkout.workflow.orders import TABLES
from checkout.workflow.runner import Workflow, order_steps
from tests.virtual_time import loop_time

NOW = 1_795_000_000_000
MUG = Sku("85123A")
IN_STOCK = 1000
LEASE_MS = round(LEASE_S * 1000)
T = TypeVar("T")


def an_order(*, token: str = "tok_ok", quantity: int = 2, unit_price: int = 255, sku: Sku = MUG) -> Order:
    """An order as checkout accepts it."""
    cart_id = new_cart_id()
    return Order(
        id=order_id_for(cart_id, 3),
        cart_id=cart_id,
        currency="GBP",
        lines=(OrderLine(sku, "WHITE HANGING HEART T-LIGHT HOLDER", quantity, unit_price),),
        shipping_method="standard",
        shipping=495,
        email="ada@example.com",
        shipping_address=Address("Ada Lovelace", "12 St James's Square", "London", "SW1Y 4JH", "GB"),
        payment_token=token,
        created_at=NOW,
        updated_at=NOW,
        history=(HistoryEntry(OrderStatus.ACCEPTED, NOW),),
    )


class Killed(BaseException):
    """The process dies at this instruction."""


class Fault(msgspec.Struct, frozen=True):
    """The outcome of one call: it raises `error`, before or after it took effect.

    Or it takes effect after `delay_s`, whether or not the caller still waits.
    """

    error: BaseException | None = None
    after: bool = False
    delay_s: float = 0.0


class Faults:
    """The planned faults of calls of all ports, in the sequence of the calls; `by_name`, of the calls of that name."""

    def __init__(self, by_name: Mapping[str, Sequence[Fault]] | None = None) -> None:
        self.calls: list[str] = []
        self.under_way: set[asyncio.Future[Any]] = set()
        self._by_name = {name: iter(plan) for name, plan in (by_name or {}).items()}
        self._plan: Iterator[Fault] = iter(())

    def at_call(self, number: int, fault: Fault) -> None:
        """Only call `number` fails, counted from 1 and from now."""
        self._plan = itertools.chain(itertools.repeat(Fault(), number - 1), [fault])

    def never(self) -> None:
        """No further faults."""
        self._plan = iter(())

    async def call(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        """Make the call, with its planned fault."""
        self.calls.append(name)
        fault = next(self._by_name.get(name, self._plan), Fault())
        if fault.delay_s:
            return await self._later(fault.delay_s, act)
        if fault.error is not None and not fault.after:
            raise fault.error
        try:
            return await act()
        finally:
            if fault.error is not None:
                raise fault.error

    async def _later(self, delay_s: float, act: Callable[[], Awaitable[T]]) -> T:
        async def late() -> T:
            await asyncio.sleep(delay_s)
            return await act()

        call = asyncio.ensure_future(late())
        self.under_way.add(call)
        return await asyncio.shield(call)

    async def finish(self) -> None:
        """Wait until delayed calls have taken effect, also those whose callers gave up; cancel the endless ones."""
        if self.under_way:
            _, endless = await asyncio.wait(self.under_way, timeout=3600)
            for call in endless:
                call.cancel()
            await asyncio.gather(*self.under_way, return_exceptions=True)


class FaultyPort:
    """A port whose calls fail as planned."""

    def __init__(self, port: Any, faults: Faults) -> None:
        self._port = port
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._faults.call(f"{type(self._port).__name__}.{name}", lambda: method(*args, **kwargs))

        return call


class CountingNotifications:
    """A `Notifications` that counts its calls."""

    def __init__(self) -> None:
        self.notified: Counter[str] = Counter()

    async def order_completed(self, order: Order) -> None:
        self.notified[order.id] += 1


class MemoryQueue:
    """An `OrderQueue` and its `Backlog` in a dict, on the clock of the running loop."""

    def __init__(self, *, visibility_s: float = 30.0) -> None:
        self.dead: list[tuple[bytes, str]] = []
        self.acknowledged: list[int] = []
        self._visibility_s = visibility_s
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[bytes, float, int]] = {}  # number: body, visible at, attempts
        self._sent_at: dict[int, float] = {}
        self._is_interrupted = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def send(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        for message in messages:
            number = next(self._numbers)
            self._waiting[number] = (message.body, loop_time(), 0)
            self._sent_at[number] = loop_time()
        return [True] * len(messages)

    async def receive(self, limit: int, wait_s: float) -> Sequence[Delivery]:
        until, self._is_interrupted = loop_time() + wait_s, False
        while not (taken := list(itertools.islice(self._take(), limit))) and loop_time() < until:
            if self._is_interrupted:
                break
            await asyncio.sleep(0.05)
        return taken

    async def interrupt(self) -> None:
        self._is_interrupted = True

    def _take(self) -> Iterator[Delivery]:
        now = loop_time()
        for number, (body, visible_at, attempts) in list(self._waiting.items()):
            if visible_at <= now:
                self._waiting[number] = (body, now + self._visibility_s, attempts + 1)
                yield Delivery(body, number, attempts + 1)

    async def extend(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        for delivery in deliveries:
            self._show_at(delivery, loop_time() + seconds)

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self.acknowledged.append(len(deliveries))
        for delivery in deliveries:
            self._waiting.pop(delivery.receipt, None)

    async def release(self, delivery: Delivery, delay_s: float) -> None:
        self._show_at(delivery, loop_time() + delay_s)

    async def dead_letter(self, delivery: Delivery, *, reason: str) -> None:
        if delivery.receipt in self._waiting:
            self.dead.append((self._waiting.pop(delivery.receipt)[0], reason))

    async def oldest_age_s(self) -> float | None:
        return min((loop_time() - self._sent_at[number] for number in list(self._waiting)[:1]), default=None)

    async def count_messages(self) -> int | None:
        return len(self)

    async def count_dead_letters(self) -> int | None:
        return len(self.dead)

    def _show_at(self, delivery: Delivery, at: float) -> None:
        if delivery.receipt in self._waiting:
            body, _, attempts = self._waiting[delivery.receipt]
            self._waiting[delivery.receipt] = (body, at, attempts)


class FakeServices:
    """Orders, stock, payment, shipping and notifications, each behind `faults`."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.orders = MemoryOrders(MemoryCarts())
        self.progress = MemoryProgress(self.orders, lease_ms=LEASE_MS, clock_ms=lambda: round(loop_time() * 1000))
        self.stock = MemoryStock({MUG: IN_STOCK})
        self.index = MemoryOrderIndex()
        self.sandbox = SandboxPayments()
        self.payments = OrderPayments(self.sandbox)
        self.shipping = SandboxShipping()
        self.notifications = CountingNotifications()
        self.accepted: list[Order] = []
        self.clock_ms: Callable[[], int] = unix_ms

    async def accept(self, *, token: str = "tok_ok", quantity: int = 2) -> Order:
        """Hold the stock and store the order, as checkout does."""
        order = an_order(token=token, quantity=quantity)
        lines = [StockLine(line.sku, line.quantity) for line in order.lines]
        assert not await self.stock.hold(order.id, lines, fence=1)
        self.orders.orders[order.id] = Receipt(order, "key", "fingerprint", is_durable=True)
        self.accepted.append(order)
        return order

    def ports(self, clock_ms: Callable[[], int]) -> dict[str, Any]:
        """The ports of a worker that has just started, each behind `faults`."""
        own = {
            "index": self.index,
            "stock": self.stock,
            "shipping": self.shipping,
            "notifications": self.notifications,
        }
        used = {name: self._faulty(port) for name, port in own.items()}
        used["payments"] = OrderPayments(self._faulty(self.sandbox), clock_ms=clock_ms)
        return used

    def workflow(self, *, ports: Mapping[str, Any] | None = None, **settings: Any) -> Workflow:
        """A workflow as in a worker that has just started; `ports` replaces some."""
        tables = settings.pop("tables", TABLES)
        defaults: dict[str, Any] = {
            "clock_ms": self.clock_ms,
            "chance": lambda: 0.5,
        } | settings
        used = self.ports(defaults["clock_ms"]) | dict(ports or {})
        steps = order_steps(**used, tables=tables)
        facts = fact_handlers(stock=used["stock"], payments=used["payments"], clock_ms=defaults["clock_ms"])
        return Workflow(self._faulty(self.orders), steps, **{"facts": facts} | defaults)

    async def run(self, order: Order, workflow: Workflow | None = None) -> Order:
        """Run an order from its stored state, without a lease."""
        stored = await self._faulty(self.orders).read(order.id)
        return await (workflow or self.workflow()).run(stored)

    def processor(
        self, *, holder: str = "worker", ports: Mapping[str, Any] | None = None, **settings: Any
    ) -> OrderProcessor:
        """A processor as in a worker that has just started; `patient_ports` replaces those of patient runs."""
        patient_ports, tables = settings.pop("patient_ports", ports), settings.pop("tables", TABLES)
        return OrderProcessor(
            self._faulty(self.progress),
            self.workflow(ports=ports, tables=tables, leaves_on_timeout=True),
            self.workflow(ports=patient_ports, tables=tables),
            holder=holder,
            **{"clock": loop_time, "chance": lambda: 0.5} | settings,
        )

    def _faulty(self, port: Any) -> Any:
        return FaultyPort(port, self.faults)

    def now(self, order: Order) -> Order:
        """The order in its current state."""
        return self.orders.orders[order.id].order

    def ledger(self, order: Order) -> list[PaymentState]:
        """The changes of this order's payment."""
        return [entry.became for entry in self.sandbox.ledger if entry.order_id == order.id]

    def captured(self) -> int:
        """The total captured and not refunded, in minor units."""
        signs = {PaymentState.CAPTURED: 1, PaymentState.REFUNDED: -1}
        return sum(signs.get(entry.became, 0) * entry.amount for entry in self.sandbox.ledger)

    def sold(self) -> int:
        """The units sold or held."""
        return IN_STOCK - self.stock.available[MUG]


def leave_to_the_sweep(entry: OutboxEntry) -> None:
    """Dispatches nothing: a test reads the outbox."""


def message_of(order: Order) -> Outgoing:
    """The message of the order, as checkout sends it."""
    return Outgoing(order.id, order_accepted(order), f"{order.id}:accepted")


UNAVAILABLE = Fault(ServiceUnavailable("gone"))
REPLY_LOST = Fault(ServiceUnavailable("lost"), after=True)
DECLINED = Fault(Declined("computer says no"))
KILLED_BEFORE = Fault(Killed())
KILLED_AFTER = Fault(Killed(), after=True)
