"""`peakgate orders mark`: what it stores, what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
from argparse import ArgumentTypeError
from collections.abc import Awaitable, Callable

import pytest

from checkout.facts import Fact, ReturnedLine, ShipmentFact
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.redis.order_index import RedisOrderIndex
from checkout.redis.orders import RedisOrders
from checkout.stored import encode_order, order_key
from gateway.cli.main import main
from gateway.cli.mark import returned_line
from store import Client, open_client
from tests.unit.checkout.fake_services import NOW, an_order


class Shop:
    """The store of a shop with one order, and commands on it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.order = an_order()

    def open(self, *statuses: OrderStatus) -> None:
        """Store the order, moved on through these statuses."""

        async def store(client: Client) -> None:
            await client.execute("FLUSHDB")
            await client.execute(
                "HSET", order_key(self.order.id), "doc", encode_order(self.order), "status", self.order.status.value
            )
            await RedisOrderIndex(client).enter(self.order)
            orders, order = RedisOrders(client), self.order
            for status in statuses:
                order = await orders.transition(order, status, at=NOW)

        asyncio.run(self._with_client(store))

    def facts(self) -> tuple[Fact, ...]:
        stored: list[Order | None] = []

        async def read(client: Client) -> None:
            stored.append(await RedisOrders(client).read(self.order.id))

        asyncio.run(self._with_client(read))
        assert stored[0] is not None
        return stored[0].facts

    async def _with_client(self, act: Callable[[Client], Awaitable[None]]) -> None:
        client = await open_client(self.url, deadline_s=5.0)
        await act(client)
        await client.close()

    def mark(self, *words: str) -> int:
        return main(["orders", "mark", *words, "--store-url", self.url])


COMPLETED = (
    OrderStatus.STOCK_CONFIRMED,
    OrderStatus.PAYMENT_AUTHORISED,
    OrderStatus.SHIPPING_ARRANGED,
    OrderStatus.COMPLETED,
)


@pytest.fixture
def shop(store_url: str) -> Shop:
    return Shop(store_url)


def test_an_order_is_marked_by_its_number(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    shop.open(*COMPLETED)

    code = shop.mark("shipped", shop.order.number, "--carrier", "Royal Mail", "--tracking", "AB1")

    assert code == 0
    assert capfd.readouterr().out == f"order {shop.order.number} is marked as shipped within seconds\n"
    (fact,) = shop.facts()
    assert isinstance(fact, ShipmentFact)
    assert (fact.became, fact.carrier, fact.tracking, fact.restock) == ("shipped", "Royal Mail", "AB1", False)


def test_an_order_that_is_not_completed_is_marked_later(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    shop.open()
    assert shop.mark("returned", shop.order.id, "--restock") == 0
    assert "once it is completed; it is accepted now" in capfd.readouterr().out


def test_a_return_may_name_lines(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    shop.open(*COMPLETED)
    sku = shop.order.lines[0].sku
    assert shop.mark("returned", shop.order.number, "--line", f"{sku}=1", "--return-id", "RMA-1", "--restock") == 0
    assert capfd.readouterr().out == f"order {shop.order.number} has these lines returned within seconds\n"
    (fact,) = shop.facts()
    assert isinstance(fact, ShipmentFact)
    assert (fact.lines, fact.restock) == ((ReturnedLine(sku, 1),), True)


@pytest.mark.parametrize("line", ["mug", "=1", "mug=", "mug=-1", "mug=one"])
def test_a_line_that_is_no_quantity_of_a_sku_is_refused(line: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not SKU=QUANTITY"):
        returned_line(line)


def test_a_sku_of_a_line_may_have_an_equals_sign() -> None:
    assert returned_line("a=b=2") == ("a=b", 2)


def test_a_return_of_more_than_the_order_has_is_refused(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    shop.open(*COMPLETED)
    assert shop.mark("returned", shop.order.number, "--line", "no such sku=1", "--return-id", "1") == 1
    assert "of 0 ordered, 0 are left" in capfd.readouterr().err
    assert not shop.facts()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["shipped"], "the order is delivered already"),
        (["returned", "--tracking-url", "x"], "a tracking page begins with https://"),
        (["returned", "--line", "mug=1"], "has a return_id"),
        (["delivered", "--restock"], "only the goods of a returned order"),
    ],
)
def test_a_mark_that_is_refused_says_why(
    shop: Shop, capfd: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    shop.open(*COMPLETED, OrderStatus.DELIVERED)
    assert shop.mark(words[0], shop.order.number, *words[1:]) == 1
    assert reason in capfd.readouterr().err
    assert not shop.facts()


def test_an_unknown_order_is_not_marked(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    shop.open()
    assert shop.mark("shipped", "nobody's") == 1
    assert "there is no order" in capfd.readouterr().err
