"""Bookings at a shipping service that fails in 10 % of the requests: none is made twice, and none outlives its cancellation.

`python -m benchmarks.scenarios.bookings [--quick]` books shipments for 10,000 orders. The service books and then hangs in 5 %,
books and then responds with 500, drops the connection or sends garbage in 3 %, and does nothing but fail in 2 %. Half of the unknown
outcomes are resolved by a worker that has just started, a quarter after the service has forgotten its idempotency keys. One
order in ten is cancelled. The counts do not depend on the machine; the CPU time is that of the adapter alone, without failures.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import uvloop

from benchmarks.harness.command import exit_code_of
from benchmarks.harness.results import Result, results_table, write_results
from benchmarks.upstreams.shipping import Fault, ShippingService, serve
from cart.ids import new_cart_id, order_id_for
from cart.model import Sku
from checkout.amounts import OrderLine
from checkout.errors import Declined, ServiceUnavailable
from checkout.order import Address, HistoryEntry, Order
from checkout.order_status import OrderStatus
from checkout.shipping.http_shipping import HttpShipping
from primitives.webhook_signature import WebhookSigner, new_secret

NOW_MS: Final = 1_795_000_000_000
_FAULTS: Final[tuple[Fault | None, ...]] = (
    None, "hangs-after", "fails-after", "drops-after", "garbles-after", "fails", "rejects",
)  # fmt: skip
_SHARES: Final = (90, 5, 1, 1, 1, 1, 1)
_AT_ONCE: Final = 32
_HANG_S: Final = 1.0
_SEED: Final = 11


@dataclass(slots=True)
class Outcome:
    """The counts of a run."""

    orders: int
    unknown: int = 0
    look_ups: int = 0
    most_look_ups: int = 0
    without_shipment: int = 0
    booked_twice: int = 0
    booked_after_cancel: int = 0
    cpu_us: float = 0.0


def main() -> int:
    """Entry point of `make bench-bookings`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.bookings", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="500 orders, results not written")
    parser.add_argument("--orders", type=int, help="orders (default: 10000)")
    args = parser.parse_args()
    orders = args.orders or (500 if args.quick else 10_000)
    return exit_code_of("bookings", lambda: measure(orders=orders, keep=not args.quick))


def measure(*, orders: int, keep: bool) -> list[Result]:
    """Measure, print the results and, if wanted, write results/bookings.json."""
    outcome = uvloop.run(book_with_failures(orders))
    outcome.cpu_us = uvloop.run(_cpu_of_a_booking(min(orders, 5000)))
    results = results_of(outcome)
    print(results_table(results))
    if keep:
        print(f"\nwritten to {write_results('bookings', {'orders': orders}, {}, results)}")
    return results


def results_of(outcome: Outcome) -> list[Result]:
    """The counts, those with targets first."""
    return [
        Result("orders booked twice", outcome.booked_twice, "", 0),
        Result("orders without a shipment, and not cancelled", outcome.without_shipment, "", 0),
        Result("shipments of cancelled orders", outcome.booked_after_cancel, "", 0),
        Result("look-ups of one order at most", outcome.most_look_ups, "", 3),
        Result("orders whose first request failed", outcome.unknown, ""),
        Result("look-ups of these", outcome.look_ups, ""),
        Result("CPU time of a booking", outcome.cpu_us, "µs", note="with the HTTP client"),
    ]


async def book_with_failures(orders: int) -> Outcome:
    """Book, and cancel one order in ten, at a service that fails."""
    rng = random.Random(_SEED)
    outcome = Outcome(orders)
    run = _Run(rng, outcome)
    async with AsyncExitStack() as stack:
        runner, port = await serve(run.service, 0)
        stack.push_async_callback(runner.cleanup)
        run.url = f"http://127.0.0.1:{port}"
        run.session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2 * _AT_ONCE))
        )
        slots = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(run.book(slots) for _ in range(orders)))
    outcome.booked_twice = sum(len(bookings) > 1 for bookings in run.service.bookings.values())
    return outcome


class _Run:
    """The service, its failures and the workers."""

    def __init__(self, rng: random.Random, outcome: Outcome) -> None:
        self.url = ""
        self.session: aiohttp.ClientSession
        self._signer = WebhookSigner(new_secret())
        self._rng = rng
        self._outcome = outcome
        self.service = ShippingService(self._signer)
        self.service.faults = _Failures(rng)

    async def book(self, slots: asyncio.Semaphore) -> None:
        """One order, from its booking to its shipment or its cancellation."""
        async with slots:
            order, shipping, look_ups = an_order(), self._worker(), 0
            reference = None
            while reference is None:
                try:
                    reference = (await shipping.arrange(order)).reference
                except ServiceUnavailable:
                    look_ups += 1
                    shipping = self._worker() if self._rng.random() < 0.5 else shipping
                    # As a day later: not while a second request with the key may be under way.
                    if look_ups == 1 and order.id in self.service.bookings and self._rng.random() < 0.25:
                        self.service.forget_keys(order.id)
                    order = waiting(order)
            self._outcome.unknown += look_ups > 0
            self._outcome.look_ups += look_ups
            self._outcome.most_look_ups = max(self._outcome.most_look_ups, look_ups)
            self._outcome.without_shipment += reference != self.service.bookings[order.id][-1].reference
            if self._rng.random() < 0.1:
                await self._cancel(order, shipping)

    async def _cancel(self, order: Order, shipping: HttpShipping) -> None:
        is_cancelled = False
        while not is_cancelled:
            try:
                await shipping.cancel(order)
                is_cancelled = True
            except ServiceUnavailable:
                continue
        with suppress(Declined, ServiceUnavailable):
            await shipping.arrange(waiting(order))
        left = [booking for booking in self.service.bookings[order.id] if booking.status == "booked"]
        self._outcome.booked_after_cancel += len(left)

    def _worker(self) -> HttpShipping:
        """The adapter as in a worker that has just started."""
        return HttpShipping(self.session, self.url, self._signer, clock_ms=lambda: NOW_MS, call_s=_HANG_S)


class _Failures(list[Fault | None]):
    """The failures of all requests to come."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__([None])
        self._rng = rng

    def pop(self, _index: object = 0) -> Fault | None:
        """The failure of the next request."""
        return self._rng.choices(_FAULTS, _SHARES)[0]


def an_order() -> Order:
    """An order whose payment has just been authorised."""
    cart_id = new_cart_id()
    return Order(
        id=order_id_for(cart_id, 3),
        cart_id=cart_id,
        currency="GBP",
        lines=(OrderLine(Sku("85123A"), "WHITE HANGING HEART T-LIGHT HOLDER", 2, 255),),
        shipping_method="standard",
        shipping=495,
        email="ada@example.com",
        shipping_address=Address("Ada Lovelace", "12 St James's Square", "London", "SW1Y 4JH", "GB"),
        payment_token="tok_ok",  # noqa: S106 - a token of the sandbox
        created_at=NOW_MS,
        updated_at=NOW_MS,
        status=OrderStatus.PAYMENT_AUTHORISED,
        history=(HistoryEntry(OrderStatus.PAYMENT_AUTHORISED, NOW_MS),),
    )


def waiting(order: Order) -> Order:
    """The order when it has been in its status for a while."""
    return msgspec.structs.replace(order, history=(HistoryEntry(order.status, NOW_MS - 60_000),))


@contextmanager
def _service_process() -> Iterator[tuple[str, WebhookSigner]]:
    """A service in a process of its own, so that only the adapter's CPU time is counted."""
    secret = new_secret()
    with tempfile.TemporaryDirectory() as folder:
        key_file = Path(folder) / "key"
        key_file.write_text(secret)
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.upstreams.shipping", "0", str(key_file)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}", WebhookSigner(secret)
        finally:
            process.terminate()
            process.wait()


@asynccontextmanager
async def _adapter() -> AsyncIterator[HttpShipping]:
    with _service_process() as (url, signer):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_AT_ONCE)) as session:
            yield HttpShipping(session, url, signer, clock_ms=lambda: NOW_MS)


async def _cpu_of_a_booking(bookings: int) -> float:
    """CPU time of this process for a booking, in microseconds, at 32 at once."""
    async with _adapter() as shipping:
        orders = [an_order() for _ in range(bookings)]
        slots = asyncio.Semaphore(_AT_ONCE)

        async def book(order: Order) -> None:
            async with slots:
                await shipping.arrange(order)

        await asyncio.gather(*map(book, orders[:100]))
        began = time.process_time()
        await asyncio.gather(*map(book, orders[100:]))
        return (time.process_time() - began) * 1e6 / (bookings - 100)


if __name__ == "__main__":
    sys.exit(main())
