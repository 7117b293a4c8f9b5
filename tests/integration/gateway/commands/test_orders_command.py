"""`peakgate orders show|list|find|retry|cancel|refund`: what is printed and stored, and the exit codes."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from cart.ids import partition_of
from checkout.amounts import Discount, ShippingTax
from checkout.facts import Fact, RefundRequest, RetryFrom
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.queues.redis_queue import QUEUE
from checkout.redis.outbox import LEASE_KEY, RedisOutbox
from checkout.stored import encode_order, order_key, status_key
from gateway.cli.main import main
from gateway.compose.orders import OrderBackends, open_order_backends
from gateway.prerequisites import StoreAddress, open_store
from gateway.resilience.breakers import Breakers
from gateway.settings import load
from store import open_client
from tests.unit.checkout.fake_services import NOW, an_order

T = TypeVar("T")
COMPLETED = (
    OrderStatus.STOCK_CONFIRMED,
    OrderStatus.PAYMENT_AUTHORISED,
    OrderStatus.SHIPPING_ARRANGED,
    OrderStatus.COMPLETED,
)
PERSONAL = ("ada@example.com", "Lovelace", "tok_ok")


class Shop:
    """The store of a shop, and commands on it."""

    def __init__(self, url: str, data_dir: Path, printed: Callable[[], tuple[str, str]]) -> None:
        self._settings = ["--store-url", url, "--data-dir", str(data_dir)]
        self._url = url
        self._data_dir = data_dir
        self._printed = printed

    def with_orders(
        self, *statuses: Sequence[OrderStatus], aside: Sequence[int] = (), made: Callable[[], Order] = an_order
    ) -> list[Order]:
        """Store an order moved on through each of these statuses; those in `aside` need attention."""

        async def store(backends: OrderBackends) -> list[Order]:
            orders = []
            for number, moves in enumerate(statuses):
                order = made()
                key = order_key(order.id)
                await backends.client.execute("HSET", key, "doc", encode_order(order), "status", "accepted")
                listed = status_key(partition_of(order.id), OrderStatus.ACCEPTED)
                await backends.client.execute("ZADD", listed, NOW, order.id)
                await backends.index.enter(order)
                for status in moves:
                    reason = CancelReason.PAYMENT_DECLINED if status is OrderStatus.CANCELLED else None
                    order = await backends.orders.transition(order, status, at=NOW, reason=reason)
                if number in aside:
                    await backends.progress.set_aside(order.id, "worker", reason="no response to it in 900 s")
                orders.append(order)
            return orders

        asyncio.run(self._empty())
        stored = self._run(store)
        self._printed()  # that the first one makes a key file
        return stored

    async def _empty(self) -> None:
        client = await open_client(self._url, deadline_s=5.0)
        await client.execute("FLUSHDB")
        await client.close()

    def now(self, order: Order) -> Order:
        async def read(backends: OrderBackends) -> Order:
            found = await backends.orders.read(order.id)
            assert found is not None
            return found

        return self._run(read)

    def outbox_and_queue(self) -> tuple[int, int]:
        """How many messages of orders are in each."""

        async def count(backends: OrderBackends) -> tuple[int, int]:
            waiting = (await RedisOutbox(backends.client).backlog()).waiting
            return waiting, await backends.client.execute("XLEN", QUEUE)

        return self._run(count)

    def has_sweeper(self) -> bool:
        """Whether a process has the lease of the sweep."""

        async def look(backends: OrderBackends) -> bool:
            return bool(await backends.client.execute("EXISTS", LEASE_KEY))

        return self._run(look)

    def facts(self, order: Order) -> tuple[Fact, ...]:
        return self.now(order).facts

    def _run(self, act: Callable[[OrderBackends], Awaitable[T]]) -> T:
        async def run() -> T:
            async with AsyncExitStack() as stack:
                settings = load({"store_url": self._url, "data_dir": str(self._data_dir)}, {})
                client = await open_store(self._url, stack, deadline_s=5.0)
                store = StoreAddress(self._url, is_embedded=False)
                breakers = Breakers(settings.policies.breaker)
                backends = await open_order_backends(settings, store, client, breakers, stack, worker_name="test")
                return await act(backends)

        return asyncio.run(run())

    def call(self, *words: str) -> tuple[int, str, str]:
        """The exit code, and what was printed on both streams."""
        code = main(["orders", *words, *self._settings])
        return code, *self._printed()


@pytest.fixture
def shop(store_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Shop:
    def printed() -> tuple[str, str]:
        out, err = capfd.readouterr()
        return out, err

    return Shop(store_url, tmp_path, printed)


def test_an_order_is_shown_without_personal_data(shop: Shop) -> None:
    (order,) = shop.with_orders(COMPLETED)
    code, out, _ = shop.call("show", order.number)
    assert code == 0
    assert order.number in out
    assert order.id in out
    assert "completed for" in out
    assert "10.05 GBP" in out
    assert not any(text in out for text in PERSONAL)
    assert "ada@example.com" in shop.call("show", order.number.lower(), "--personal")[1]


@pytest.mark.parametrize(
    ("is_added", "total"),
    [
        (True, "9.87 GBP: lines 5.10 GBP, coupon SUMMER10 -1.00 GBP, shipping express 4.95 GBP, tax 0.82 GBP\n"),
        (
            False,
            "9.05 GBP: lines 5.10 GBP, coupon SUMMER10 -1.00 GBP, shipping express 4.95 GBP; it includes 0.82 GBP of tax\n",
        ),
    ],
)
def test_the_total_of_an_order_is_explained(shop: Shop, is_added: bool, total: str) -> None:
    def made() -> Order:
        order = an_order()
        (line,) = order.lines
        return msgspec.structs.replace(
            order,
            lines=(msgspec.structs.replace(line, discount=100, tax=82, tax_rate="20"),),
            discounts=(Discount("SUMMER10", "ten off", goods=100),),
            shipping_method="express",
            shipping=495,
            tax=ShippingTax(is_added=is_added, amount=0),
        )

    (order,) = shop.with_orders((), made=made)
    out = shop.call("show", order.id)[1]
    assert total in out


def test_an_order_is_shown_as_json(shop: Shop) -> None:
    (order,) = shop.with_orders(COMPLETED[:2], aside=[0])
    code, out, _ = shop.call("show", order.id, "--json")
    shown = json.loads(out)
    assert code == 0
    assert (shown["id"], shown["status"], shown["total"]["amount"]) == (order.id, "payment_authorised", 1005)
    assert shown["operator"]["attention"]["reason"] == "no response to it in 900 s"
    assert not any(text in out for text in PERSONAL)


def test_orders_are_listed_by_state(shop: Shop) -> None:
    waiting, done, cancelled = shop.with_orders((), COMPLETED, (OrderStatus.CANCELLED,), aside=[0])

    def listed(*words: str) -> list[str]:
        return [each["id"] for each in json.loads(shop.call("list", "--json", *words)[1])["orders"]]

    assert listed() == [waiting.id]
    assert listed("--state", "completed") == [done.id]
    assert listed("--state", "cancelled") == [cancelled.id]
    assert listed("--state", "attention") == [waiting.id]
    assert listed("--state", "completed", "--older-than", "1h") == []
    assert listed("--state", "completed", "--younger-than", "1h") == [done.id]
    assert listed("--state", "attention", "--older-than", "1h") == []


def test_lists_are_tables_for_people_and_have_pages(shop: Shop) -> None:
    orders = shop.with_orders(*[COMPLETED] * 3)
    code, out, err = shop.call("list", "--state", "completed", "--limit", "2")
    assert code == 0
    assert out.splitlines()[0].split() == ["NUMBER", "STATUS", "FOR", "TOTAL", "ID"]
    assert err.startswith("peakgate: 2 orders in state completed; next page: --cursor ")
    cursor = err.split()[-1]
    rest = shop.call("list", "--state", "completed", "--limit", "2", "--cursor", cursor)[1]
    assert sum(order.id in out for order in orders) == 2
    assert sum(order.id in rest for order in orders) == 1

    (aside, *_) = shop.with_orders((), aside=[0])
    assert "NEEDS ATTENTION BECAUSE" in shop.call("list", "--state", "attention")[1]
    assert aside.number in shop.call("list", "--state", "attention")[1]


def test_orders_are_found_by_number_and_by_address(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = shop.with_orders((), COMPLETED)
    assert orders[0].id in shop.call("find", orders[0].number.replace("-", " ").lower())[1]
    monkeypatch.setattr("sys.stdin", io.StringIO("ADA@example.com\n"))
    code, out, _ = shop.call("find", "--email", "-")
    assert code == 0
    assert all(order.id in out for order in orders)
    assert "ada@" not in out.lower()
    assert shop.call("find", "--email", "eve@example.com") == (1, "", "peakgate: no order was found\n")


def test_an_order_is_retried_and_cancelled(shop: Shop) -> None:
    aside, waiting, done = shop.with_orders(COMPLETED[:1], (), COMPLETED, aside=[0])

    assert shop.call("retry", aside.number)[:2] == (0, f"order {aside.number} is with the workers again\n")
    assert shop.call("retry", done.id, "--from", "notify")[0] == 0
    assert shop.call("cancel", waiting.id)[0] == 0

    (fact,) = shop.facts(done)
    assert isinstance(fact, RetryFrom)
    assert fact.step == "notify"
    assert (shop.now(waiting).status, shop.now(waiting).reason) == (OrderStatus.CANCELLED, CancelReason.REQUESTED)


ACTS = {
    "retry": ((), ("retry",)),
    "retry_from": (COMPLETED, ("retry", "--from", "notify")),
    "refund": (COMPLETED, ("refund",)),
    "cancel": ((), ("cancel",)),
    "cancel again": ((OrderStatus.CANCELLED,), ("cancel",)),
    "mark": (COMPLETED, ("mark", "shipped")),
}
an_act = pytest.mark.parametrize(("status", "words"), ACTS.values(), ids=ACTS)


@an_act
def test_the_message_of_an_act_is_in_the_queue_when_the_command_ends(
    shop: Shop, status: Sequence[OrderStatus], words: Sequence[str]
) -> None:
    (order,) = shop.with_orders(status, aside=[0])
    before = shop.outbox_and_queue()
    assert shop.call(*words, order.id)[0] == 0
    assert shop.outbox_and_queue() == (before[0], 1)
    assert not shop.has_sweeper(), "its lease would hold up the gateway after the command"


@an_act
def test_an_act_succeeds_while_the_queue_is_away(
    shop: Shop, status: Sequence[OrderStatus], words: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setattr("gateway.compose.outbox.DRAIN_S", 0.1)
    (order,) = shop.with_orders(status, aside=[0])
    before = shop.outbox_and_queue()
    away = (
        "--queue-url",
        "http://127.0.0.1:1/1/orders",
        "--aws-endpoint-url",
        "http://127.0.0.1:1",
        "--aws-region",
        "eu-west-2",
    )
    code, out, err = shop.call(*words, order.id, *away)
    assert (code, out.startswith(f"order {order.number} ")) == (0, True), err
    assert shop.outbox_and_queue() == (before[0] + 1, 0)


def test_the_same_refund_given_twice_is_one(shop: Shop) -> None:
    (order,) = shop.with_orders(COMPLETED)
    first = shop.call("refund", order.number, "--amount", "4.95", "--reason", "arrived late")
    assert first[0] == 0
    assert "refunded 4.95 GBP" in first[1]
    assert "before, and is not again" in shop.call("refund", order.number, "--amount", "4.95")[1]
    assert shop.call("refund", order.number, "--amount", "4.95", "--key", "second")[0] == 0

    facts = [fact for fact in shop.facts(order) if isinstance(fact, RefundRequest)]
    assert [(fact.id, fact.amount, fact.detail) for fact in facts] == [
        ("refund:operator:495", 495, "arrived late"),
        ("refund:second", 495, None),
    ]
    code, _, err = shop.call("refund", order.number, "--amount", "1.00")
    assert (code, "0.01 GBP to 0.15 GBP" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("show", "22222-22222"), 1, "there is no order '22222-22222'"),
        (("list", "--state", "gone"), 64, "invalid choice: 'gone'"),
        (("list", "--older-than", "1"), 64, "must be a number and a unit"),
        (("list", "--cursor", "x"), 1, "the cursor is not that of a page"),
        (("find",), 64, "name an order by its number or id, or an address by --email"),
        (("retry", "{accepted}"), 1, "the order does not need attention"),
        (("retry", "{completed}", "--from", "tea"), 1, "no such step; the steps are enter_in_index"),
        (("retry", "{completed}", "--from", "capture_payment"), 1, "would charge or book again"),
        (("cancel", "{completed}"), 1, "the order is completed"),
        (("refund", "{accepted}"), 1, "not paid for yet: cancel it instead"),
        (("refund", "{completed}", "--amount", "4.955"), 1, "has more than the 2 decimals of GBP"),
        (("refund", "{completed}", "--amount", "0"), 1, "must be more than nothing"),
        (("refund", "{completed}", "--amount", "100"), 1, "must be 0.01 GBP to 10.05 GBP"),
        (("refund", "{completed}", "--key", "a b"), 1, "the key must be 1 to 64 letters"),
    ],
)
def test_what_cannot_be_done_is_one_line(shop: Shop, words: Sequence[str], code: int, line: str) -> None:
    accepted, completed = shop.with_orders((), COMPLETED)
    names = {"{accepted}": accepted.id, "{completed}": completed.id}
    try:
        result, _, err = shop.call(*(names.get(word, word) for word in words))
    except SystemExit as ended:  # argparse
        result, (_, err) = int(str(ended.code)), shop._printed()
    assert (result, line in err) == (code, True), err
    assert err.count("\n") == 1


def test_a_store_that_is_away_is_69(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    away = ["--store-url", "redis://127.0.0.1:1/0", "--data-dir", str(tmp_path)]
    for words in (["list"], ["show", "22222-22222"]):
        assert main(["orders", *words, *away]) == 69
        assert capfd.readouterr().err.count("\n") == 1
