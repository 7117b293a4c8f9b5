"""A shopper: fills a cart, reads it, checks out once, and polls the order.

Every request and every response may be lost, and still the basket is bought exactly once:

- each write carries If-Match with the version last seen. When its response was lost and the repetition is rejected with
  412, the cart shows whether the write had been applied;
- each basket has one Idempotency-Key for the whole run. A cart is ordered once at most, and when a basket was started
  again with another cart, the lost one is checked: it must not have become an order too.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final

import msgspec
import orjson

from benchmarks.replay.cart import CartLost, Fault, ShopperCart, plan_writes, unexpected
from benchmarks.replay.catalogue import ShopCatalogue
from benchmarks.replay.client import ShopClient, ShopResponse
from benchmarks.replay.order_states import BOUGHT, ENDED
from benchmarks.replay.responses import Cart, Money, Order
from benchmarks.replay.retail import Basket
from benchmarks.replay.retry import GaveUp, RetryPolicy
from primitives.backoff import Backoff

_CARTS_PER_BASKET: Final = 5
_MAX_CHECKOUTS: Final = 3
_FIRST_POLL_S: Final = 0.03
_MAX_POLL_S: Final = 1.0
_ADDRESS: Final = {
    "name": "A. Shopper",
    "line1": "1 High Street",
    "city": "London",
    "postcode": "N1 9GU",
    "country": "GB",
}


@dataclass(frozen=True, slots=True)
class Purchase:
    """The result of one basket; money in minor units. `accepted` and `units_ordered` are from the order."""

    invoice: str
    lines: int
    units: int
    expected: int
    order_id: str | None = None
    state: str | None = None
    accepted: int = 0
    units_ordered: int = 0
    carts_lost: int = 0
    fault: str | None = None


class Shopper:
    """Buys one basket. `on_lines` is called with the number of lines of each write."""

    def __init__(
        self,
        client: ShopClient,
        basket: Basket,
        catalogue: ShopCatalogue,
        *,
        run_id: str,
        retry: RetryPolicy,
        chance: Random,
        clock: Callable[[], float] = time.monotonic,
        on_lines: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._basket = basket
        self._catalogue = catalogue
        self._wanted = basket.quantities()
        self._expected = catalogue.cost(self._wanted)
        self._idempotency_key = f"replay-{run_id}-{basket.invoice}"
        self._retry = retry
        self._chance = chance
        self._clock = clock
        self._on_lines = on_lines
        self._lost_carts: list[str] = []
        self._order: Order | None = None

    async def buy(self) -> Purchase:
        """Buy the basket. Faults are in the purchase and are not raised: the other baskets go on."""
        fault: str | None = None
        try:
            order = await self._order_from_a_cart()
            order = await self._final_state_of(order)
            await self._check_lost_carts()
            fault = self._misdelivery(order)
        except (Fault, GaveUp) as error:
            fault = str(error)
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            fault = f"a response is not in the API's form ({error!r})"
        return self._purchase(fault)

    async def _order_from_a_cart(self) -> Order:
        """Fill a cart and check it out, with a new cart when one is lost. Returns the accepted order."""
        writes = plan_writes([(line.sku, line.quantity) for line in self._basket.lines], self._chance)
        for _ in range(_CARTS_PER_BASKET):
            cart = await ShopperCart.create(self._client, self._retry, self._catalogue.currency)
            try:
                for write in writes:
                    await cart.apply(write)
                    self._on_lines(write.lines)
                return await self._check_out(cart)
            except CartLost:
                self._lost_carts.append(cart.id)
        raise Fault(f"{_CARTS_PER_BASKET} carts were lost one after the other")

    async def _check_out(self, cart: ShopperCart) -> Order:
        """Read the cart and pay its total; read it again when a price has just changed."""
        for _ in range(_MAX_CHECKOUTS):
            seen = await cart.read()
            if seen.quantities() != self._wanted:
                raise Fault("the cart does not hold what was put into it")
            response = await self._pay(seen)
            if response.status == 202:
                return self._accepted(response)
            if response.problem == "cart-not-found":
                raise CartLost
            if response.problem not in {"price-changed", "total-mismatch"}:
                raise unexpected("the checkout", response)
        raise Fault(f"prices changed at each of {_MAX_CHECKOUTS} checkouts")

    def _accepted(self, response: ShopResponse) -> Order:
        if "Idempotent-Replayed" in response.headers:
            self._client.retries["checkout replayed"] += 1
        self._retry.progressed()
        self._order = response.decode(Order)
        return self._order

    async def _pay(self, seen: Cart) -> ShopResponse:
        body = {
            "cart_id": seen.id,
            "email": f"invoice-{self._basket.invoice}@replay.example",
            "shipping_address": _ADDRESS,
            "payment": {"token": "tok_ok"},
            "expected_total": {"amount": seen.total.amount, "currency": seen.total.currency},
        }
        return await self._client.call(
            "check out",
            "POST",
            "/v1/checkout",
            body=orjson.dumps(body),
            headers={"Idempotency-Key": self._idempotency_key},
            retry=self._retry,
        )

    async def _final_state_of(self, order: Order) -> Order:
        """Poll the order until it is in a final state."""
        accepted_at = self._clock()
        backoff = Backoff(_FIRST_POLL_S, _MAX_POLL_S, factor=1.5, chance=self._chance.random)
        while order.status not in ENDED:
            await self._client.pause(self._retry.allow(backoff.next_delay_s()))
            response = await self._client.call("poll the order", "GET", f"/v1/orders/{order.id}", retry=self._retry)
            if response.status != 200:
                raise unexpected("polling the accepted order", response)
            status_before, order = order.status, response.decode(Order)
            self._order = order
            if order.status != status_before:
                self._retry.progressed()
        self._client.latencies.add("from 202 to the final state", self._clock() - accepted_at)
        return order

    async def _check_lost_carts(self) -> None:
        """A cart that was given up as lost must not have become an order as well."""
        for cart_id in self._lost_carts:
            response = await self._client.call("read the cart", "GET", f"/v1/carts/{cart_id}", retry=self._retry)
            if response.status == 200 and response.decode(Cart).order_id:
                raise Fault(f"ordered twice: cart {cart_id} that seemed lost became an order too")

    def _misdelivery(self, order: Order) -> str | None:
        """How the finished order differs from the basket."""
        if order.status not in BOUGHT:
            return f"the order was {order.status} ({order.reason or 'no reason given'})"
        if order.quantities() != self._wanted:
            return "the order's lines are not the basket's"
        if order.total != Money(self._expected, self._catalogue.currency):
            return f"the order's total is {order.total.amount:,} {order.total.currency}, not {self._expected:,}"
        return None

    def _purchase(self, fault: str | None) -> Purchase:
        bought = Purchase(
            invoice=self._basket.invoice,
            lines=len(self._basket.lines),
            units=self._basket.units,
            expected=self._expected,
            carts_lost=len(self._lost_carts),
            fault=fault,
        )
        if (order := self._order) is None:
            return bought
        return replace(
            bought,
            order_id=order.id,
            state=order.status,
            accepted=order.total.amount,
            units_ordered=sum(line.quantity for line in order.lines),
        )
