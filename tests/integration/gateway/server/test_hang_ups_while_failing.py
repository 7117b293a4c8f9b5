"""A client that hangs up while the store fails leaves no error that asyncio logs as never retrieved."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from cart.bodies import AddLine, MergeCart, PutLine, SetLine
from cart.catalog.handlers import ProductHandlers
from cart.catalog.memory import MemorySearch
from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.handlers import CartHandlers
from cart.ids import new_cart_id
from cart.model import Sku
from cart.redis_carts import RedisCarts
from cart.stock_watch import StockWatch
from checkout.handlers import CheckoutHandlers
from checkout.message import order_accepted
from checkout.redis.order_index import RedisOrderIndex
from checkout.redis.orders import RedisOrders
from checkout.redis.stock import RedisStock
from checkout.request import CheckoutRequest, PaymentBody
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response
from gateway.ratelimit.early_read import EarlyRead
from store import Script, StoreUnavailable
from tests.contract.checkout.shop import ADDRESS
from tests.integration.gateway.small_server import Small, get, small_server
from tests.waiting import until

CART, OTHER = new_cart_id(), new_cart_id()
SKUS = [Sku("85123A"), Sku("22423")]


class SilentStore:
    """A store that replies to nothing, until it fails. Its futures are retrieved, as those of the client are."""

    def __init__(self) -> None:
        self.calls: list[asyncio.Future[Any]] = []

    def execute(self, *_command: object) -> asyncio.Future[Any]:
        self.calls.append(asyncio.get_running_loop().create_future())
        return self.calls[-1]

    def execute_blocking(self, *_command: object, timeout_s: float) -> asyncio.Future[Any]:
        return self.execute()

    def run(self, _script: Script, _keys: object, _args: object = ()) -> asyncio.Future[Any]:
        return self.execute()

    def fail(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            if not call.done():
                call.set_exception(StoreUnavailable("lost", may_have_run=True))
                call.exception()

    async def fail_all(self) -> None:
        """Fail, also the calls that are made because of it."""
        while True:
            for _ in range(20):
                await asyncio.sleep(0)
            if not self.calls:
                return
            self.fail()


class Shop:
    def __init__(self, store: SilentStore) -> None:
        prices = RedisPriceBook(store)
        carts = RedisCarts(store)
        self.carts = CartHandlers(carts, prices, stock=StockWatch(RedisCatalog(store)))
        self.products = ProductHandlers(prices=prices, stock=RedisCatalog(store), search=MemorySearch())
        self.checkout = CheckoutHandlers(
            orders=RedisOrders(store),
            stock=RedisStock(store),
            prices=prices,
            merges=carts,
            message=order_accepted,
            dispatch=lambda _entry: None,
            index=RedisOrderIndex(store),
        )
        self.prices, self.stock = prices, RedisCatalog(store)


def check_out(shop: Shop) -> Awaitable[object]:
    request = CheckoutRequest(
        cart_id=CART, email="ada@example.com", shipping_address=ADDRESS, payment=PaymentBody(token="tok_ok")
    )
    return shop.checkout.place(request, idempotency_key="k1")


Call = Callable[[Shop], Awaitable[object]]
CALLS: dict[str, Call] = {
    "read a cart": lambda shop: shop.carts.read(CART),
    "read the own cart": lambda shop: shop.carts.read_own(owner="ada"),
    "add a line": lambda shop: shop.carts.add_line(CART, AddLine(SKUS[0], 1)),
    "put a line": lambda shop: shop.carts.put_line(CART, SKUS[0], PutLine(1)),
    "patch lines": lambda shop: shop.carts.patch_lines(CART, [SetLine(sku, 1) for sku in SKUS]),
    "merge": lambda shop: shop.carts.merge(CART, MergeCart(OTHER, "sum")),
    "read a product": lambda shop: shop.products.get(SKUS[0]),
    "prices": lambda shop: shop.prices.products(SKUS),
    "stock": lambda shop: shop.stock.levels(SKUS),
    "check out": check_out,
}


@pytest.fixture
async def noise() -> AsyncIterator[list[object]]:
    """Everything that asyncio reports."""
    contexts: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: contexts.append(context))
    yield contexts
    gc.collect()
    await asyncio.sleep(0)
    assert not contexts


def endpoints(act: Callable[[], Awaitable[object]]) -> Callable[[Small], list[Endpoint]]:
    async def handler(_request: Request) -> Response:
        await act()
        return Response(204)

    async def early(request: Request) -> Response:
        """A read that is begun early, as the rate limits do it."""
        read = EarlyRead(handler, request)
        try:
            return await read.finish()
        finally:
            read.abandon()

    async def rejected(request: Request) -> Response:
        EarlyRead(handler, request).abandon()
        return Response(429)

    return lambda _server: [
        Endpoint("GET", "/hot", handler),
        Endpoint("GET", "/task", handler, hot=False),
        Endpoint("GET", "/early", early),
        Endpoint("GET", "/rejected", rejected),
    ]


@pytest.mark.parametrize("route", ["/hot", "/task", "/early", "/rejected"])
@pytest.mark.usefixtures("noise")
async def test_hanging_up_before_the_store_fails_leaves_no_error(route: str) -> None:
    for call in CALLS.values():
        store = SilentStore()
        async with small_server(more_endpoints=endpoints(partial(call, Shop(store)))) as server:
            async with await server.client() as client:
                await client.send(get(route))
                await until(lambda: store.calls)  # noqa: B023 - of this round
            await until(lambda: not server.edge.connections)
            await store.fail_all()


@pytest.mark.parametrize("route", ["/hot", "/task", "/early"])
@pytest.mark.usefixtures("noise")
async def test_hanging_up_in_the_moment_in_which_the_store_fails_leaves_no_error(route: str) -> None:
    for call in CALLS.values():
        store = SilentStore()
        async with (
            small_server(more_endpoints=endpoints(partial(call, Shop(store)))) as server,
            await server.client() as client,
        ):
            await client.send(get(route))
            await until(lambda: store.calls)  # noqa: B023 - of this round
            store.fail()
            connection: Any
            for connection in [*server.edge.connections]:
                connection.connection_lost(None)
            await store.fail_all()


@pytest.mark.parametrize("ticks", range(6))
@pytest.mark.usefixtures("noise")
async def test_cancelling_a_task_around_the_failure_of_the_store_leaves_no_error(ticks: int) -> None:
    for call, fails_first in itertools.product(CALLS.values(), (True, False)):
        store = SilentStore()
        task = asyncio.ensure_future(call(Shop(store)))
        await until(lambda: store.calls)  # noqa: B023 - of this round
        first, then = (store.fail, task.cancel) if fails_first else (task.cancel, store.fail)
        first()
        for _ in range(ticks):
            await asyncio.sleep(0)
        then()
        await store.fail_all()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()


@pytest.mark.usefixtures("noise")
async def test_a_fault_of_the_program_in_a_checkout_whose_client_has_left_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = SilentStore()
    task = asyncio.ensure_future(check_out(Shop(store)))
    await until(lambda: store.calls)
    task.cancel()
    await asyncio.wait([task])
    for call in store.calls:
        call.set_exception(RuntimeError("broken on purpose"))
    await store.fail_all()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "a checkout whose client has disconnected failed"
    ]
