"""Whatever the network does to any call of a checkout, it has one outcome, and the response says no other."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cart.errors import IdempotencyKeyReused, Refusal
from cart.model import Cart
from checkout.errors import IdempotencyKeyInProgress, OrderNotDurable, OutOfStock
from checkout.order_status import CancelReason, OrderStatus
from checkout.purchase import PlacedOrder
from primitives.outages import is_outage, may_have_run
from tests.contract.checkout.faults import OVERTAKING, FaultyNetwork, Kind
from tests.contract.checkout.shop import (
    BOX,
    MUG,
    Killed,
    Shop,
    a_request,
    switchable_shop,
)

pytestmark = pytest.mark.slow

KEY = "the same key"
Result = PlacedOrder | BaseException
# More than a checkout has.
MANY = 30


@pytest.fixture(params=["memory", "redis"])
def shop(request: pytest.FixtureRequest) -> Shop:
    return switchable_shop(request)


class Scene:
    """A cart whose checkout fails at one call. `durability` is that of its commit:

    `durable`: as promised; `late`: only when a replay makes sure of it; `never`: not until the end of the request;
    `sent`: never, but a sweeper has sent its message by then.
    """

    def __init__(self, shop: Shop, durability: str, kind: Kind, at: int) -> None:
        self.shop = shop
        self.kind = kind
        self.durability = durability
        self.network = FaultyNetwork(
            shop,
            kind,
            at,
            expire_claim=self._expire_claim,
            try_again=self._try_again,
            after_commit=self._after_commit,
        )
        self.cart: Cart
        self.request: Any
        self.overtaken_by: Result | None = None

    async def open(self, lines: dict[Any, int] | None = None) -> None:
        for sku in (MUG, BOX):
            await self.shop.set_stock(sku, 10)
        await self.shop.expire_holds()
        self.cart = await self.shop.cart(lines or {MUG: 2, BOX: 1})
        self.request = a_request(self.cart)
        self.shop.set_durable(self.durability == "durable")
        self.taken_before = [await self.shop.taken(sku) for sku in (MUG, BOX)]

    async def check_out(self) -> Result:
        """The shopper's request behind the faulty network."""
        result = await self._place(self.shop.handlers(orders=self.network.orders, stock=self.network.stock).place)
        self.order_id_at_first = (await self.shop.carts.read(self.cart.id)).order_id
        await self.network.run_late_calls()
        self.shop.set_durable(True)
        return result

    async def try_again(self) -> Result:
        return await self._place(self.shop.handlers().place)

    async def _place(self, place: Callable[..., Any]) -> Result:
        try:
            placed = await place(self.request, idempotency_key=KEY)
            assert isinstance(placed, PlacedOrder)
            return placed
        except (Exception, Killed) as error:  # noqa: BLE001 - it is the result
            return error

    async def _expire_claim(self) -> None:
        await self.shop.expire_claim(self.cart.id)

    async def _try_again(self) -> None:
        self.shop.set_durable(True)
        self.overtaken_by = await self.try_again()

    async def _after_commit(self) -> None:
        if self.durability == "late":
            self.shop.set_durable(True)
        elif self.durability == "sent":
            entries = await self.shop.outbox.unsent(per_partition=100)
            await self.shop.outbox.mark_sent([entry for entry in entries if entry.order_id == await self.order_id()])

    async def order_id(self) -> str | None:
        return (await self.shop.carts.read(self.cart.id)).order_id

    async def accounts(self) -> list[tuple[int, int]]:
        """Available and taken of each SKU, less those of earlier scenes."""
        return [
            (await self.shop.available(sku), await self.shop.taken(sku) - before)
            for sku, before in zip((MUG, BOX), self.taken_before, strict=True)
        ]

    async def messages(self) -> int:
        entries = await self.shop.outbox.unsent(per_partition=100)
        order_id = await self.order_id()
        return sum(entry.order_id == order_id for entry in entries)


def says_that_nothing_was_ordered(result: Result) -> bool:
    """Whether the response says that this request ordered nothing."""
    if isinstance(result, IdempotencyKeyInProgress):
        return False
    return isinstance(result, Refusal) or (is_outage(result) and not may_have_run(result))  # type: ignore[arg-type]


async def scenes(shop: Shop, durability: str, kind: Kind, **cart: Any) -> AsyncIterator[tuple[Scene, Result]]:
    """A scene for each call of a checkout, after its request."""
    for at in range(1, MANY):
        scene = Scene(shop, durability, kind, at)
        await scene.open(**cart)
        result = await scene.check_out()
        yield scene, result
        if not scene.network.has_failed:
            return
    raise AssertionError("a checkout has more calls than that")


DURABILITIES = ["durable", "late", "never", "sent"]
every_kind = pytest.mark.parametrize("kind", list(Kind))
every_durability = pytest.mark.parametrize("durability", DURABILITIES)


@every_kind
@every_durability
async def test_a_response_never_denies_an_order_that_stands(shop: Shop, kind: Kind, durability: str) -> None:
    async for scene, result in scenes(shop, durability, kind):
        order_id = await scene.order_id()
        if isinstance(result, PlacedOrder):
            assert result.order.id == order_id == scene.order_id_at_first
            assert await shop.orders.read(result.order.id) == result.order
        elif says_that_nothing_was_ordered(result) and scene.overtaken_by is None:
            assert (order_id, scene.order_id_at_first) == (None, None), result
        if isinstance(scene.overtaken_by, PlacedOrder):
            assert scene.overtaken_by.order.id == order_id
        if not isinstance(result, PlacedOrder | Refusal | Killed | RuntimeError):
            assert is_outage(result)


@every_kind
@every_durability
async def test_a_retry_with_the_same_key_gives_the_one_order(shop: Shop, kind: Kind, durability: str) -> None:
    async for scene, _ in scenes(shop, durability, kind):
        stands = await scene.order_id()
        at_once = await scene.try_again()
        assert isinstance(at_once, PlacedOrder | IdempotencyKeyInProgress), at_once
        await shop.expire_claim(scene.cart.id)
        retried, again = await scene.try_again(), await scene.try_again()
        assert isinstance(retried, PlacedOrder), retried
        assert isinstance(again, PlacedOrder)
        if stands is not None:
            assert (retried.order.id, retried.replayed) == (stands, True)
        assert (again.replayed, again.to_json()) == (True, retried.to_json())
        assert await scene.order_id() == retried.order.id
        assert await scene.messages() == 1 or durability == "sent"
        await shop.sweep()
        assert await scene.accounts() == [(8, 2), (9, 1)]


@every_kind
@every_durability
async def test_stock_adds_up_and_nothing_stays_held(shop: Shop, kind: Kind, durability: str) -> None:
    async for scene, _ in scenes(shop, durability, kind):
        assert [sum(account) for account in await scene.accounts()] == [10, 10]
        await shop.sweep()
        stands = await scene.order_id() is not None
        assert await scene.accounts() == ([(8, 2), (9, 1)] if stands else [(10, 0), (10, 0)])
        assert not await shop.orders.open_claims()


@every_kind
@every_durability
async def test_no_key_is_blocked_longer_than_a_claim(shop: Shop, kind: Kind, durability: str) -> None:
    async for scene, _ in scenes(shop, durability, kind):
        stands = await scene.order_id()
        await shop.expire_claim(scene.cart.id)
        scene.request = a_request(scene.cart, email="ada@example.org")
        changed = await scene.try_again()
        if stands is not None:
            assert isinstance(changed, IdempotencyKeyReused)
        else:
            assert isinstance(changed, PlacedOrder), changed
            assert not changed.replayed


@every_kind
async def test_a_refused_checkout_is_refused_whatever_fails(shop: Shop, kind: Kind) -> None:
    async for scene, result in scenes(shop, "durable", kind, lines={MUG: 2, BOX: 11}):
        assert not isinstance(result, PlacedOrder)
        assert await scene.order_id() is None
        assert not may_have_run(result) or isinstance(result, Refusal | Killed | RuntimeError)
        await shop.sweep()
        assert await scene.accounts() == [(10, 0), (10, 0)]
        await shop.expire_claim(scene.cart.id)
        assert isinstance(await scene.try_again(), OutOfStock)
        assert not await shop.orders.open_claims()


@every_kind
@pytest.mark.parametrize("durability", ["durable", "late", "never"])
async def test_a_replay_never_denies_its_order(shop: Shop, kind: Kind, durability: str) -> None:
    for at in itertools.count(1):
        scene = Scene(shop, "durable", kind, at)
        await scene.open()
        first = await scene.try_again()
        assert isinstance(first, PlacedOrder)
        result = await scene.check_out()
        assert not isinstance(result, OrderNotDurable)
        if isinstance(result, PlacedOrder):
            assert (result.replayed, result.to_json()) == (True, first.to_json())
        # When it has seen the order, it does not say that nothing was ordered.
        if at == 2 and is_outage(result):  # type: ignore[arg-type]
            assert may_have_run(result)  # type: ignore[arg-type]
        assert await scene.order_id() == first.order.id
        if not scene.network.has_failed:
            return


@every_kind
async def test_a_cancellation_that_fails_says_whether_it_may_have_run(shop: Shop, kind: Kind) -> None:
    if kind in OVERTAKING:
        return
    for at in itertools.count(1):
        scene = Scene(shop, "durable", kind, at)
        await scene.open()
        placed = await scene.try_again()
        assert isinstance(placed, PlacedOrder)
        result: Any
        try:
            result = await shop.handlers(orders=scene.network.orders).cancel(placed.order.id)
        except (Exception, Killed) as error:  # noqa: BLE001 - it is the result
            result = error
        status_at_first = (await shop.handlers().read(placed.order.id)).status
        await scene.network.run_late_calls()
        order = await shop.handlers().read(placed.order.id)
        if isinstance(result, Exception) and is_outage(result) and not may_have_run(result):
            assert (order.status, status_at_first) == (OrderStatus.ACCEPTED, OrderStatus.ACCEPTED)
        if not isinstance(result, BaseException):
            assert order == result
        if at == 1 and isinstance(result, Exception) and is_outage(result):
            assert not may_have_run(result)  # only the order was read
        cancelled = await shop.handlers().cancel(placed.order.id)
        assert (cancelled.status, cancelled.reason) == (OrderStatus.CANCELLED, CancelReason.REQUESTED)
        assert await scene.messages() == 2
        if not scene.network.has_failed:
            return
