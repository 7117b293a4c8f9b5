"""A shop for the tests of checkout: carts, prices, stock and orders, in memory or on a store."""

from __future__ import annotations

import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import pytest

from cart.catalog.model import CatalogRow
from cart.catalog.redis_catalog import RedisCatalog
from cart.coupons import MARK, NO_CURRENCY, Coupon
from cart.ids import new_cart_id, partition_of
from cart.memory import MemoryCarts
from cart.model import MOST_AHEAD, Cart, CartId, Limits, Line, OrderId, Product, Sku, Terms
from cart.ports import CartHolds, Carts, Write
from cart.redis_carts import RedisCarts
from cart.sku_keys import cart_holds_key, holds_key, product_key, purchases_key
from cart.stored import cart_key
from cart.timestamps import unix_ms
from checkout.errors import SoldAhead
from checkout.events.sinks import EventSinks
from checkout.handlers import CheckoutHandlers
from checkout.memory.cart_holds import MemoryCartHolds
from checkout.memory.event_outbox import CLAIM_S, MemoryEventOutbox
from checkout.memory.in_flight import MemoryInFlight
from checkout.memory.order_index import MemoryOrderIndex
from checkout.memory.order_listing import MemoryOrderListing
from checkout.memory.orders import MemoryOrders
from checkout.memory.progress import MemoryProgress
from checkout.memory.stock import MemoryStock
from checkout.message import order_accepted
from checkout.order import Order
from checkout.ports.cart_holds import ExpiredCartHolds
from checkout.ports.events import EventOutbox
from checkout.ports.in_flight import InFlight
from checkout.ports.order_index import OrderIndex
from checkout.ports.order_listing import OrderListing
from checkout.ports.orders import CLAIM_MS, Claim, ClaimGauge, OpenClaims, Orders
from checkout.ports.outbox import Outbox, OutboxEntry, OutboxGauge
from checkout.ports.progress import Progress
from checkout.ports.stock import HOLD_MS, Stock
from checkout.privacy.order_codec import OrderCodec
from checkout.redis.cart_holds import RedisCartHolds
from checkout.redis.durability import Durability
from checkout.redis.event_outbox import RedisEventOutbox
from checkout.redis.in_flight import RedisInFlight
from checkout.redis.inventory import RedisInventory
from checkout.redis.order_listing import RedisOrderListing
from checkout.redis.orders import RedisOrders
from checkout.redis.outbox import MAX_SLOTS, RedisOutbox
from checkout.redis.progress import RedisProgress
from checkout.redis.stock import MAX_LINES, RedisStock
from checkout.request import AddressBody, CheckoutRequest, ExpectedTotal, PaymentBody
from checkout.stored import ALL_PARTITIONS, claim_key, event_claim_key, order_key, status_key
from checkout.sweeper import AGE_S, StockSweeper
from checkout.tariff.shipping_methods import ShippingMethod, ShippingRate
from checkout.tariff.tariff import Tariff, TariffInForce
from store import Script, Store
from tests.contract.cart.stores import is_on_cluster

MUG, BOX = Sku("85123A"), Sku("BANK CHARGES")
PRICES = {MUG: 255, BOX: 1000}
LIMITS = Limits()
LEASE_MS = 10_000
# Small, so that few events are several pages.
EVENT_PAGE = 5
ADDRESS = AddressBody(
    name="Ada Lovelace", line1="12 St James's Square", city="London", postcode="SW1Y 4JH", country="gb"
)


def flat_rates(**prices: int) -> TariffInForce:
    """A tariff of shipping methods, the first of them the default, each at one price."""
    return TariffInForce(
        Tariff([ShippingMethod(name, name, [ShippingRate(price=price)]) for name, price in prices.items()])
    )


class AllOrders(Orders, OpenClaims, Protocol):
    """The ports that both adapters of orders implement."""


class AllCartHolds(CartHolds, ExpiredCartHolds, Protocol):
    """The ports that both adapters of the holds of carts implement."""


class FakePriceBook:
    is_stale = False

    def __init__(self, prices: Mapping[Sku, int]) -> None:
        self.sold = {sku: Product(sku, f"the {sku}", price, "GBP") for sku, price in prices.items()}

    def reprice(self, sku: Sku, price: int, currency: str = "GBP") -> None:
        # A new mapping, as the port requires: the prices of a mapping never change.
        self.sold = self.sold | {sku: Product(sku, f"the {sku}", price, currency)}

    def limit(self, sku: Sku, units: int) -> None:
        product = self.sold[sku]
        terms = msgspec.structs.replace(product.terms, per_shopper=units)
        self.sold = self.sold | {sku: msgspec.structs.replace(product, terms=terms)}

    def offer(self, code: str, coupon: Coupon) -> Sku:
        sku = Sku(MARK + code)
        self.sold = self.sold | {sku: Product(sku, f"the coupon {code}", 0, NO_CURRENCY, terms=Terms(coupon=coupon))}
        return sku

    @property
    def current(self) -> Mapping[Sku, Product]:
        return self.sold

    async def products(self, skus: Collection[Sku]) -> Mapping[Sku, Product]:
        return self.sold


class Shop(ABC):
    orders: AllOrders
    outbox: Outbox
    outbox_gauge: OutboxGauge
    claim_gauge: ClaimGauge
    progress: Progress
    in_flight: InFlight
    listing: OrderListing
    stock: Stock
    cart_holds: AllCartHolds
    carts: Carts

    def __init__(self) -> None:
        self.prices = FakePriceBook(PRICES)
        self.dispatched: list[OutboxEntry] = []
        self.index: OrderIndex = MemoryOrderIndex()
        # No sink is enabled until a test enables one.
        self.events = EventSinks()

    @abstractmethod
    def event_outbox(self, sink: str) -> EventOutbox:
        """The outbox of a sink, as one more process opens it."""

    @abstractmethod
    async def expire_event_claims(self, sink: str) -> None:
        """Let the claims of the sink's outbox expire, and the lease of its sweep."""

    @abstractmethod
    def now(self) -> int: ...

    @abstractmethod
    async def set_stock(self, sku: Sku, quantity: int) -> None: ...

    @abstractmethod
    async def spoil_stock(self, sku: Sku, units: int) -> None:
        """Add units that nobody has counted."""

    @abstractmethod
    async def limit_per_shopper(self, sku: Sku, units: int) -> None:
        """Let one shopper have so many units of the SKU."""

    @abstractmethod
    async def sell_ahead(self, sku: Sku, *, limit: int = 0, available_on: str = "") -> None:
        """Sell so many units of the SKU beyond its stock, 0 for any."""

    @abstractmethod
    async def hold_at_cart(self, sku: Sku, seconds: int) -> None:
        """Hold the units of carts' lines of the SKU for so long."""

    @abstractmethod
    async def age_cart_holds(self, sku: Sku, ms: int) -> None:
        """Let the holds of carts of the SKU end so much earlier."""

    @abstractmethod
    async def age_purchases(self, sku: Sku, ms: int) -> None:
        """Let the purchases of the SKU be so much older."""

    @abstractmethod
    async def available(self, sku: Sku) -> int: ...

    @abstractmethod
    async def taken(self, sku: Sku) -> int:
        """The units held, or sold for orders that are not completed."""

    @abstractmethod
    async def cart_expires_at(self, cart_id: CartId) -> int:
        """When the cart is deleted by itself, in Unix milliseconds."""

    @abstractmethod
    async def age_cart(self, cart_id: CartId, ms: int) -> None:
        """Let the cart expire so much earlier, as if it had been written before now; a negative time, later."""

    @abstractmethod
    async def expire_claim(self, cart_id: CartId) -> None:
        """Let the claim of this cart expire."""

    @abstractmethod
    async def expire_holds(self) -> None: ...

    @abstractmethod
    async def lose_order(self, order_id: OrderId) -> None:
        """Lose the order, as a store does that evicts."""

    @abstractmethod
    async def expire_lease(self, order_id: OrderId) -> None:
        """Let the lease of this order expire."""

    @abstractmethod
    async def pass_time(self, order_id: OrderId, ms: int) -> None:
        """Let the time pass since the order got no response."""

    @abstractmethod
    async def age_status(self, order: Order, ms: int) -> None:
        """Let the order have had its status for so much longer; in memory, all orders."""

    @abstractmethod
    async def forget_durability(self, order_id: OrderId) -> None:
        """Let the order be one that is not durable yet."""

    @abstractmethod
    def set_durable(self, is_durable: bool) -> None:
        """Whether commits, and replays that try again, are as durable as promised."""

    def handlers(self, *, orders: Orders | None = None, stock: Stock | None = None, **more: Any) -> CheckoutHandlers:
        return CheckoutHandlers(
            orders=orders or self.orders,
            stock=stock or self.stock,
            prices=self.prices,
            merges=more.pop("merges", self.carts),
            message=more.pop("message", order_accepted),
            dispatch=more.pop("dispatch", self.dispatched.append),
            index=more.pop("index", self.index),
            clock_ms=more.pop("clock_ms", self.now),
            **more,
        )

    def write(self, **conditions: Any) -> Write:
        return Write(now=self.now(), limits=LIMITS, **conditions)

    async def cart(self, lines: Mapping[Sku, int] | None = None, *, owner: str | None = None) -> Cart:
        """An open cart with these lines, at the prices of now."""
        now = self.now()
        cart = Cart(id=new_cart_id(), currency="GBP", created_at=now, updated_at=now, owner=owner)
        await self.carts.create(cart, limits=LIMITS)
        for sku, quantity in ({MUG: 2} if lines is None else lines).items():
            cart = await self.add(cart.id, sku, quantity, owner=owner)
        return cart

    async def add(self, cart_id: CartId, sku: Sku, quantity: int = 1, *, owner: str | None = None) -> Cart:
        line = Line(sku, quantity, self.prices.sold[sku].price)
        return await self.carts.add_line(cart_id, line, currency="GBP", write=self.write(owner=owner))

    async def apply(self, cart: Cart, coupon: Sku) -> Cart:
        """The cart with this coupon."""
        return await self.carts.set_lines(cart.id, [Line(coupon, 1, 0)], currency=None, write=self.write())

    async def sweep(self) -> int:
        """Sweep as if all holds and claims had expired."""
        await self.expire_holds()
        now = 0.0
        sweeper = StockSweeper(self.orders, self.stock, clock=lambda: now)
        assert not await sweeper.sweep()
        now = AGE_S
        return await sweeper.sweep()


class MemoryShop(Shop):
    def __init__(self) -> None:
        super().__init__()
        self.now_ms = unix_ms()
        self.carts = self.memory_carts = MemoryCarts(clock_ms=self.now)
        self.orders = self.outbox = self.memory_orders = self.outbox_gauge = self.claim_gauge = MemoryOrders(
            self.carts, events=self.events, clock_ms=self.now
        )
        self.progress = MemoryProgress(self.memory_orders, lease_ms=LEASE_MS, clock_ms=self.now)
        self.in_flight = MemoryInFlight(self.memory_orders, self.progress, clock_ms=self.now)
        self.listing = MemoryOrderListing(self.memory_orders, clock_ms=self.now)
        self.stock = self.memory_stock = MemoryStock({}, clock_ms=self.now)
        self.cart_holds = self.memory_cart_holds = MemoryCartHolds(self.memory_stock, clock_ms=self.now)

    def event_outbox(self, sink: str) -> EventOutbox:
        return MemoryEventOutbox(self.memory_orders.events_of(sink), page=EVENT_PAGE)

    async def expire_event_claims(self, sink: str) -> None:
        self.now_ms += round(CLAIM_S * 1000)

    def now(self) -> int:
        return self.now_ms

    async def set_stock(self, sku: Sku, quantity: int) -> None:
        self.memory_stock.count(sku, quantity)

    async def spoil_stock(self, sku: Sku, units: int) -> None:
        self.memory_stock.available[sku] += units

    async def limit_per_shopper(self, sku: Sku, units: int) -> None:
        self.memory_stock.per_shopper[sku] = units
        self.prices.limit(sku, units)

    async def hold_at_cart(self, sku: Sku, seconds: int) -> None:
        self.memory_cart_holds.seconds[sku] = seconds

    async def age_cart_holds(self, sku: Sku, ms: int) -> None:
        self.now_ms += ms

    async def sell_ahead(self, sku: Sku, *, limit: int = 0, available_on: str = "") -> None:
        self.memory_stock.ahead[sku] = SoldAhead(sku, limit or MOST_AHEAD, available_on)

    async def age_purchases(self, sku: Sku, ms: int) -> None:
        self.now_ms += ms

    async def available(self, sku: Sku) -> int:
        return self.memory_stock.available[sku]

    async def taken(self, sku: Sku) -> int:
        return self.memory_stock.taken(sku)

    async def cart_expires_at(self, cart_id: CartId) -> int:
        return int(self.memory_carts.expires_at(cart_id))

    async def age_cart(self, cart_id: CartId, ms: int) -> None:
        self.now_ms += ms

    async def expire_claim(self, cart_id: CartId) -> None:
        self.now_ms += CLAIM_MS

    async def lose_order(self, order_id: OrderId) -> None:
        del self.memory_orders.orders[order_id]

    async def expire_holds(self) -> None:
        self.now_ms += HOLD_MS

    async def expire_lease(self, order_id: OrderId) -> None:
        self.now_ms += LEASE_MS

    async def pass_time(self, order_id: OrderId, ms: int) -> None:
        self.now_ms += ms

    async def age_status(self, order: Order, ms: int) -> None:
        self.now_ms += ms

    async def forget_durability(self, order_id: OrderId) -> None:
        receipt = self.memory_orders.orders[order_id]
        self.memory_orders.orders[order_id] = msgspec.structs.replace(receipt, is_durable=False)

    def set_durable(self, is_durable: bool) -> None:
        self.memory_orders.is_durable = is_durable


class SwitchedDurability:
    """A `Durability` that a test switches."""

    reply_is_durable = False
    undo_is_safe = True

    def __init__(self, store: Store) -> None:
        self.is_durable = True
        self._store = store

    async def write(self, script: Script, keys: Sequence[Any], args: Sequence[Any]) -> tuple[Any, bool]:
        return await self._store.run(script, keys, args), self.is_durable


class RedisShop(Shop):
    def __init__(self, store: Store, *, durability: Durability | None = None, codec: OrderCodec | None = None) -> None:
        super().__init__()
        self.store = store
        codec = self.codec = codec or OrderCodec()
        self.durability = durability
        self.carts = RedisCarts(store)
        self.orders = self.claim_gauge = RedisOrders(store, durability=durability, codec=codec, events=self.events)
        self.is_on_cluster = is_on_cluster(store)
        slots_per_call, lines_per_call = (1, 1) if self.is_on_cluster else (MAX_SLOTS, MAX_LINES)
        self.outbox = self.outbox_gauge = RedisOutbox(store, slots_per_call=slots_per_call)
        self.progress = RedisProgress(store, lease_ms=LEASE_MS, codec=codec)
        self.in_flight = RedisInFlight(store)
        self.listing = RedisOrderListing(store, is_cluster=self.is_on_cluster)
        self.stock = RedisStock(store, lines_per_call=lines_per_call)
        self.cart_holds = RedisCartHolds(store)

    def needs_calls_of(self, slots: int) -> None:
        """Skip a test whose calls have keys of several slots where there is a cluster."""
        if slots > 1 and self.is_on_cluster:
            pytest.skip("a cluster has no calls with keys of several slots")

    def event_outbox(self, sink: str) -> EventOutbox:
        return RedisEventOutbox(self.store, sink, page=EVENT_PAGE)

    async def expire_event_claims(self, sink: str) -> None:
        claims = [event_claim_key(partition, sink) for partition in ALL_PARTITIONS]
        # The server's clock cannot be moved, so the keys that it would have deleted are deleted.
        for key in (*claims, f"events:{sink}:sweeper"):
            assert await self.store.execute("PTTL", key) != -1
            await self.store.execute("DEL", key)

    def now(self) -> int:
        return unix_ms()

    async def set_stock(self, sku: Sku, quantity: int) -> None:
        await self.store.execute("HSETNX", product_key(sku), "stock", 0)
        await RedisInventory(self.store).set(sku, quantity, key=secrets.token_hex(8))

    async def spoil_stock(self, sku: Sku, units: int) -> None:
        await self.store.execute("HINCRBY", product_key(sku), "stock", units)

    async def limit_per_shopper(self, sku: Sku, units: int) -> None:
        await self.store.execute("HSET", product_key(sku), "per_shopper", units)
        self.prices.limit(sku, units)

    async def hold_at_cart(self, sku: Sku, seconds: int) -> None:
        await self.store.execute("HSET", product_key(sku), "hold_at_cart", seconds)

    async def age_cart_holds(self, sku: Sku, ms: int) -> None:
        # The server's clock cannot be moved, so the times that it wrote are moved.
        for name in await self.store.execute("ZRANGE", cart_holds_key(sku), 0, -1):
            await self.store.execute("ZINCRBY", cart_holds_key(sku), -ms, name)
            hold = await self.store.execute("HGET", holds_key(sku), name)
            if hold is not None:
                quantity, until, extended = hold.split()
                aged = b"%b %d %b" % (quantity, int(until) - ms, extended)
                await self.store.execute("HSET", holds_key(sku), name, aged)

    async def sell_ahead(self, sku: Sku, *, limit: int = 0, available_on: str = "") -> None:
        terms = {"sold_ahead": "preorder", "ahead_limit": limit or None, "available_on": available_on or None}
        name = self.prices.sold[sku].name
        row = CatalogRow(sku, name, 255, "GBP", terms=msgspec.json.encode(terms).decode())
        await RedisCatalog(self.store).put([row])

    async def age_purchases(self, sku: Sku, ms: int) -> None:
        # The server's clock cannot be moved, so the times that it wrote are moved.
        for field, text in (await self.store.execute("HGETALL", purchases_key(sku))).items():
            older = re.sub(rb"\b\d{13}\b", lambda at: b"%d" % (int(at[0]) - ms), text)
            await self.store.execute("HSET", purchases_key(sku), field, older)

    async def available(self, sku: Sku) -> int:
        return int(await self.store.execute("HGET", product_key(sku), "stock"))

    async def taken(self, sku: Sku) -> int:
        holds = await self.store.execute("HGETALL", holds_key(sku))
        return sum(int(hold.split()[0]) for hold in holds.values())

    async def cart_expires_at(self, cart_id: CartId) -> int:
        return int(await self.store.execute("PEXPIRETIME", cart_key(cart_id)))

    async def age_cart(self, cart_id: CartId, ms: int) -> None:
        await self.store.execute("PEXPIREAT", cart_key(cart_id), await self.cart_expires_at(cart_id) - ms)

    async def expire_claim(self, cart_id: CartId) -> None:
        # The server's clock cannot be moved, so the key that it would have deleted is deleted.
        assert await self.store.execute("PTTL", claim_key(cart_id)) <= CLAIM_MS
        assert await self.store.execute("PTTL", claim_key(cart_id)) != -1
        await self.store.execute("DEL", claim_key(cart_id))

    async def lose_order(self, order_id: OrderId) -> None:
        await self.store.execute("DEL", order_key(order_id))

    async def expire_holds(self) -> None:
        for sku in self.prices.sold:
            for order_id, hold in (await self.store.execute("HGETALL", holds_key(sku))).items():
                quantity, expires_ms, fence = hold.split()
                if expires_ms != b"0":
                    await self.store.execute("HSET", holds_key(sku), order_id, b"%b 1 %b" % (quantity, fence))

    async def age_status(self, order: Order, ms: int) -> None:
        await self.store.execute("ZINCRBY", status_key(partition_of(order.id), order.status), -ms, order.id)

    async def forget_durability(self, order_id: OrderId) -> None:
        await self.store.execute("HSET", order_key(order_id), "durable", 0)

    def set_durable(self, is_durable: bool) -> None:
        assert isinstance(self.durability, SwitchedDurability) or is_durable
        if isinstance(self.durability, SwitchedDurability):
            self.durability.is_durable = is_durable

    async def expire_lease(self, order_id: OrderId) -> None:
        holder, _ = (await self.store.execute("HGET", order_key(order_id), "lease")).split()
        await self.store.execute("HSET", order_key(order_id), "lease", b"%b 1" % holder)

    async def pass_time(self, order_id: OrderId, ms: int) -> None:
        since, rest = (await self.store.execute("HGET", order_key(order_id), "unanswered")).split(b" ", 1)
        await self.store.execute("HSET", order_key(order_id), "unanswered", b"%d %b" % (int(since) - ms, rest))


def switchable_shop(request: pytest.FixtureRequest) -> Shop:
    """A shop behind the adapter that the fixture names, whose durability a test can switch off."""
    if request.param == "memory":
        return MemoryShop()
    store = request.getfixturevalue("store")
    return RedisShop(store, durability=SwitchedDurability(store))


class Killed(BaseException):
    """The process dies at this instruction."""


class FailingStore:
    """A store on which command number `at`, from 1, fails: before it is sent or, with `ran`, by losing its reply.

    If `error` is a `Killed`, all later commands fail too.
    """

    def __init__(self, store: Store, *, at: int, ran: bool, error: BaseException) -> None:
        self.count = 0
        self._store = store
        self._at = at
        self._ran = ran
        self._error = error

    def execute(self, *command: bytes | str | float) -> Awaitable[Any]:
        return self._call(lambda: self._store.execute(*command))

    def execute_blocking(self, *command: bytes | str | float, timeout_s: float) -> Awaitable[Any]:
        return self._call(lambda: self._store.execute_blocking(*command, timeout_s=timeout_s))

    def run(self, script: Script, keys: Sequence[Any], args: Sequence[Any] = ()) -> Awaitable[Any]:
        return self._call(lambda: self._store.run(script, keys, args))

    def _call(self, send: Any) -> Awaitable[Any]:
        self.count += 1
        fails = self.count == self._at or (self.count > self._at and isinstance(self._error, Killed))
        runs = not fails or (self._ran and self.count == self._at)
        return self._reply(send() if runs else None, fails)

    async def _reply(self, reply: Awaitable[Any] | None, fails: bool) -> Any:
        result = None if reply is None else await reply
        if fails:
            raise self._error
        return result


def a_request(cart: Cart | CartId, **changes: Any) -> CheckoutRequest:
    return CheckoutRequest(
        **{
            "cart_id": cart.id if isinstance(cart, Cart) else cart,
            "email": "ada@example.com",
            "shipping_address": ADDRESS,
            "payment": PaymentBody("tok_ok"),
            **changes,
        }
    )


def pounds(amount: int) -> ExpectedTotal:
    return ExpectedTotal(amount, "GBP")


def a_claim(
    cart: Cart | CartId, token: str = "t1", *, key: str = "k1", body: str = "b1", owner: str | None = None
) -> Claim:
    cart_id = cart.id if isinstance(cart, Cart) else cart
    return Claim(cart_id=cart_id, key_hash=key, fingerprint=body, token=token, owner=owner)
