"""A shop for the tests of checkout: carts, prices, stock and orders, in memory or on a store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Any, Protocol

from cart.ids import new_cart_id
from cart.memory import MemoryCarts
from cart.model import Cart, CartId, Limits, Line, Product, Sku
from cart.ports import Carts, Write
from cart.redis_carts import RedisCarts
from cart.stored import cart_key
from cart.timestamps import unix_ms
from checkout.durability import Durability
from checkout.handlers import CheckoutHandlers
from checkout.memory_orders import MemoryOrders
from checkout.memory_stock import MemoryStock
from checkout.message import order_accepted
from checkout.ports.orders import CLAIM_MS, Claim, OpenClaims, Orders
from checkout.ports.outbox import Outbox, OutboxEntry
from checkout.ports.stock import HOLD_MS, Stock
from checkout.redis_orders import RedisOrders
from checkout.redis_outbox import RedisOutbox
from checkout.redis_stock import RedisStock
from checkout.request import AddressBody, CheckoutRequest, ExpectedTotal, PaymentBody
from checkout.stored import claim_key, holds_key, idempotency_key, product_key
from checkout.sweeper import StockSweeper
from store import Script, Store

MUG, BOX = Sku("85123A"), Sku("BANK CHARGES")
PRICES = {MUG: 255, BOX: 1000}
LIMITS = Limits()
ADDRESS = AddressBody(
    name="Ada Lovelace", line1="12 St James's Square", city="London", postcode="SW1Y 4JH", country="gb"
)


class AllOrders(Orders, OpenClaims, Protocol):
    """The ports that both adapters of orders implement."""


class FakePriceBook:
    is_stale = False

    def __init__(self, prices: Mapping[Sku, int]) -> None:
        self.sold = {sku: Product(sku, f"the {sku}", price, "GBP") for sku, price in prices.items()}

    def reprice(self, sku: Sku, price: int, currency: str = "GBP") -> None:
        # A new mapping, as the port requires: the prices of a mapping never change.
        self.sold = self.sold | {sku: Product(sku, f"the {sku}", price, currency)}

    @property
    def current(self) -> Mapping[Sku, Product]:
        return self.sold

    async def products(self, skus: Collection[Sku]) -> Mapping[Sku, Product]:
        return self.sold


class Shop(ABC):
    orders: AllOrders
    outbox: Outbox
    stock: Stock
    carts: Carts

    def __init__(self) -> None:
        self.prices = FakePriceBook(PRICES)
        self.dispatched: list[OutboxEntry] = []

    @abstractmethod
    def now(self) -> int: ...

    @abstractmethod
    async def set_stock(self, sku: Sku, quantity: int) -> None: ...

    @abstractmethod
    async def available(self, sku: Sku) -> int: ...

    @abstractmethod
    async def taken(self, sku: Sku) -> int:
        """The units held, or sold for orders that are not completed."""

    @abstractmethod
    async def cart_expires_at(self, cart_id: CartId) -> int:
        """When the cart is deleted by itself, in Unix milliseconds."""

    @abstractmethod
    async def expire_claim(self, cart_id: CartId, key: str) -> None:
        """Let the claim of this cart and key expire."""

    @abstractmethod
    async def expire_holds(self) -> None: ...

    def handlers(self, *, orders: Orders | None = None, stock: Stock | None = None, **more: Any) -> CheckoutHandlers:
        return CheckoutHandlers(
            orders=orders or self.orders,
            stock=stock or self.stock,
            prices=self.prices,
            merges=more.pop("merges", self.carts),
            message=more.pop("message", order_accepted),
            dispatch=self.dispatched.append,
            clock_ms=self.now,
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

    async def sweep(self) -> int:
        """Sweep as if all holds and claims had expired."""
        await self.expire_holds()
        return await StockSweeper(self.orders, self.stock, clock_ms=lambda: self.now() + CLAIM_MS + HOLD_MS + 1).sweep()


class MemoryShop(Shop):
    def __init__(self) -> None:
        super().__init__()
        self.now_ms = unix_ms()
        self.carts = self.memory_carts = MemoryCarts(clock_ms=self.now)
        self.orders = self.outbox = self.memory_orders = MemoryOrders(self.carts, clock_ms=self.now)
        self.stock = self.memory_stock = MemoryStock({}, clock_ms=self.now)

    def now(self) -> int:
        return self.now_ms

    async def set_stock(self, sku: Sku, quantity: int) -> None:
        self.memory_stock.available[sku] = quantity

    async def available(self, sku: Sku) -> int:
        return self.memory_stock.available[sku]

    async def taken(self, sku: Sku) -> int:
        return self.memory_stock.taken(sku)

    async def cart_expires_at(self, cart_id: CartId) -> int:
        return int(self.memory_carts.expires_at(cart_id))

    async def expire_claim(self, cart_id: CartId, key: str) -> None:
        self.now_ms += CLAIM_MS

    async def expire_holds(self) -> None:
        self.now_ms += HOLD_MS


class RedisShop(Shop):
    def __init__(self, store: Store, *, durability: Durability | None = None) -> None:
        super().__init__()
        self.store = store
        self.carts = RedisCarts(store)
        self.orders = RedisOrders(store, durability=durability)
        self.outbox = RedisOutbox(store)
        self.stock = RedisStock(store)

    def now(self) -> int:
        return unix_ms()

    async def set_stock(self, sku: Sku, quantity: int) -> None:
        await self.store.execute("HSET", product_key(sku), "stock", quantity)

    async def available(self, sku: Sku) -> int:
        return int(await self.store.execute("HGET", product_key(sku), "stock"))

    async def taken(self, sku: Sku) -> int:
        holds = await self.store.execute("HGETALL", holds_key(sku))
        return sum(int(hold.split()[0]) for hold in holds.values())

    async def cart_expires_at(self, cart_id: CartId) -> int:
        return int(await self.store.execute("PEXPIRETIME", cart_key(cart_id)))

    async def expire_claim(self, cart_id: CartId, key: str) -> None:
        # The server's clock cannot be moved, so the keys that it would have deleted are deleted.
        await self.store.execute("DEL", claim_key(cart_id))
        if await self.store.execute("PTTL", idempotency_key(key)) <= CLAIM_MS:
            await self.store.execute("DEL", idempotency_key(key))

    async def expire_holds(self) -> None:
        for sku in self.prices.sold:
            for order_id, hold in (await self.store.execute("HGETALL", holds_key(sku))).items():
                quantity, expires_ms, fence = hold.split()
                if expires_ms != b"0":
                    await self.store.execute("HSET", holds_key(sku), order_id, b"%b 1 %b" % (quantity, fence))


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
