"""Real baskets and a drop at once, while processes are killed and paused and the disk fills up: nothing is lost or doubled.

`make test` runs a short form, with a fixed seed. `make test-chaos` runs 100,000 orders and 200 faults in all, on four shops, with a seed of its own,
which it prints; SEED=… repeats its faults. What the shoppers saw must be what one copy of each cart, of the stock and of the coupon could have done.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import random
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from benchmarks.replay.retail import Basket, read_baskets
from benchmarks.upstreams.payment_server import serving
from tests.chaos.faults import CLUSTER, EMBEDDED, LONGEST_S, QUEUED, WATCHED, Fault, plan, strike
from tests.chaos.history import UNKNOWN, Operation
from tests.chaos.linearizable import check
from tests.chaos.models import Cart, cart_after, stock_after
from tests.chaos.queue import sqs_queue
from tests.chaos.shop import DROP, DROPS, PLENTY, WITH_COUPON, ChaosShop
from tests.chaos.shoppers import Seen, Shoppers
from tests.e2e.running_shop import POLL_S, eventually
from tests.network import networked_cluster
from tests.sentinels import watched_pair
from tests.small_disk import small_disk
from tests.waiting import WITHIN_S

log = logging.getLogger("chaos")
BASKETS: Final = Path(__file__).parents[2] / "examples" / "baskets.csv.gz"
ORDERS: Final = int(os.environ.get("PEAKGATE_CHAOS_ORDERS") or 300)
FAULTS: Final = int(os.environ.get("PEAKGATE_CHAOS_FAULTS") or len(EMBEDDED))
IS_LONG: Final = "PEAKGATE_CHAOS_ORDERS" in os.environ
SEED: Final = int(os.environ.get("PEAKGATE_CHAOS_SEED") or (random.SystemRandom().randrange(10**6) if IS_LONG else 1))
AT_ONCE: Final = 24 if IS_LONG else 6
# The part of all orders, and of all faults, of each shop but that with an embedded store, which has the rest.
ORDERS_ELSEWHERE, FAULTS_ELSEWHERE = ORDERS // 10, FAULTS // 5
# In a hundred visits: the others buy a recorded basket. Of a hundred who have ordered, some cancel an order.
DROP_SHARE, BOTH_SHARE, SHARED_SHARE, COUPON_SHARE, CANCEL_SHARE = 20, 5, 4, 20, 5
# Coupons for baskets and for a drop, with fewer uses than are wanted.
COUPON, DROP_COUPON = "SALE", "DROP"
USES: Final = {COUPON: 1000 if IS_LONG else 40, DROP_COUPON: 5}
# Beside the shop with most orders, one after the other.
SECOND_PROCESS: Final = pytest.mark.xdist_group("other shops")
# What begins in this time has ended, and is checked, within half an hour. The other shops share it.
LONGEST_VISITS_S: Final = 24 * 60.0
ENDED: Final = frozenset({"completed", "cancelled"})


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[ChaosShop]:
    """A shop on a disk of its own, which is large enough for all visits."""
    with small_disk(tmp_path / "disk", (256 + ORDERS // 25) * 2**20) as disk:
        shop = ChaosShop(disk, tmp_path, random.Random(SEED))
        yield shop
        if shop.is_running:
            shop.kill()


@pytest.fixture
def queued_shop(tmp_path: Path, aws_credentials: None) -> Iterator[ChaosShop]:
    """A shop whose orders go to a queue of SQS."""
    with small_disk(tmp_path / "disk", (256 + ORDERS // 250) * 2**20) as disk, sqs_queue() as queue:
        shop = ChaosShop(disk, tmp_path, random.Random(SEED), queue=queue)
        yield shop
        if shop.is_running:
            shop.kill()


@pytest.fixture
def watched_shop(tmp_path: Path) -> Iterator[ChaosShop]:
    """A shop whose store is a primary and a replica with three Sentinels."""
    with watched_pair(tmp_path / "store", "--appendonly", "yes") as pair:
        shop = ChaosShop(tmp_path, tmp_path, random.Random(SEED), servers=pair)
        yield shop
        if shop.is_running:
            shop.kill()


@pytest.fixture
def clustered_shop(tmp_path: Path) -> Iterator[ChaosShop]:
    """A shop whose store is a cluster of three primaries, each with a replica, and with links that can be cut."""
    with networked_cluster(tmp_path / "store", "--appendonly", "yes") as cluster:
        shop = ChaosShop(tmp_path, tmp_path, random.Random(SEED), servers=cluster)
        yield shop
        if shop.is_running:
            shop.kill()


@pytest.mark.slow
async def test_no_order_is_lost_doubled_or_oversold_whatever_fails(shop: ChaosShop) -> None:
    orders, faults = (ORDERS - 3 * ORDERS_ELSEWHERE, FAULTS - 3 * FAULTS_ELSEWHERE) if IS_LONG else (ORDERS, FAULTS)
    planned = plan(random.Random(SEED), faults, EMBEDDED, longest_s=LONGEST_S if IS_LONG else 1.5)
    await run(shop, orders, planned, within_s=LONGEST_VISITS_S if IS_LONG else math.inf)


@pytest.mark.skipif(not IS_LONG, reason="takes minutes: `make test-chaos` runs it")
@SECOND_PROCESS
async def test_no_order_is_lost_doubled_or_oversold_when_the_queue_fails(queued_shop: ChaosShop) -> None:
    await run(queued_shop, ORDERS_ELSEWHERE, plan(random.Random(SEED), FAULTS_ELSEWHERE, QUEUED))


@pytest.mark.skipif(not IS_LONG, reason="takes minutes: `make test-chaos` runs it")
@SECOND_PROCESS
async def test_no_order_is_lost_doubled_or_oversold_when_the_primary_fails(watched_shop: ChaosShop) -> None:
    """With `--durability replica`. Carts are replicated later, so that a failover may lose the last changes of them."""
    await run(watched_shop, ORDERS_ELSEWHERE, plan(random.Random(SEED), FAULTS_ELSEWHERE, WATCHED), loses_changes=True)


@pytest.mark.skipif(not IS_LONG, reason="takes minutes: `make test-chaos` runs it")
@SECOND_PROCESS
async def test_no_order_is_lost_doubled_or_oversold_on_a_cluster(clustered_shop: ChaosShop) -> None:
    await run(clustered_shop, ORDERS_ELSEWHERE, plan(random.Random(SEED), FAULTS_ELSEWHERE, CLUSTER))


async def run(
    shop: ChaosShop,
    orders: int,
    faults: list[Fault],
    *,
    within_s: float = LONGEST_VISITS_S / 3,
    loses_changes: bool = False,
) -> None:
    """Visits and faults, the ends of all orders, the books and, unless changes may be lost, the histories.

    After `within_s` no more visits are begun. What has happened by then is checked, and then the test fails.
    """
    rng, seen = random.Random(SEED), Seen()
    log.info("seed %d: %d orders or more, %d faults", SEED, orders, len(faults))
    async with serving(shop.payments) as url:
        await asyncio.to_thread(shop.open, url)
        for code, uses in USES.items():
            await asyncio.to_thread(shop.offer_coupon, code, uses)
        await visits_and_faults(shop, rng, seen, orders, faults, end_s=time.monotonic() + within_s)
        log.info("%d orders accepted, %d faults; waiting for their ends", len(seen.accepted), seen.faults)
        statuses = await ends(shop, seen.accepted)
        await asyncio.to_thread(check_books, shop, seen, statuses)
    assert not shop.tracebacks()
    log.info("%s; %d visits came too late", dict(Counter(statuses.values())), seen.sold_out)
    log.info("%d ordered without the coupon that was used up", seen.without_coupon)
    log.info("%d requests were repeated, %d carts lost", seen.retries, seen.carts_lost)
    if not loses_changes:
        assert seen.carts_lost == 0
        check_histories(seen, statuses)
    assert (len(seen.accepted) >= orders, seen.faults) == (True, len(faults)), "too slow: nothing else is wrong"


async def visits_and_faults(
    shop: ChaosShop, rng: random.Random, seen: Seen, least: int, faults: list[Fault], *, end_s: float
) -> None:
    """Visits until there are so many orders, several at once, with the faults spread over them.

    They go on until all faults are over, but not beyond `end_s`, a time of the monotonic clock.
    """
    baskets = itertools.cycle(read_baskets(BASKETS))
    progressed = asyncio.Condition()

    def is_over() -> bool:
        return time.monotonic() > end_s or (len(seen.accepted) >= least and seen.faults == len(faults))

    async def strike_in_turn() -> None:
        for number, fault in enumerate(faults):
            async with progressed:
                while len(seen.accepted) * len(faults) < number * least and not is_over():
                    await progressed.wait()
            if is_over():
                break
            log.info("%d orders; %s", len(seen.accepted), fault)
            await asyncio.to_thread(strike, shop, fault, rng)
            seen.faults += 1

    async def notify() -> None:
        async with progressed:
            progressed.notify_all()

    async def visit_in_turn(session: aiohttp.ClientSession) -> None:
        shoppers = Shoppers(session, shop.url, rng, seen)
        while not is_over():
            await visit(shop, shoppers, rng, next(baskets), seen)
            await notify()
        await notify()  # the time may have ended since

    limits = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=limits, connector=aiohttp.TCPConnector(limit=0)) as session:
        # It would repeat a PUT on a connection that was lost, and nobody would know that its response is to the second one.
        session._retry_connection = False
        await all_of(strike_in_turn(), *(visit_in_turn(session) for _ in range(AT_ONCE)))


async def visit(shop: ChaosShop, shoppers: Shoppers, rng: random.Random, basket: Basket, seen: Seen) -> None:
    """One shopper, who buys from the drop, shares a cart, or buys what somebody has bought before, perhaps with the coupon; some change their mind."""
    chance = rng.randrange(100)
    before = len(seen.accepted)
    if chance < DROP_SHARE:
        await shoppers.buy_from_drop(DROP)
    elif chance < DROP_SHARE + BOTH_SHARE:
        await shoppers.buy_from_drop_with_coupon(WITH_COUPON, DROP_COUPON)
    elif chance < DROP_SHARE + BOTH_SHARE + SHARED_SHARE and shop.servers is None:
        await shoppers.share_a_cart(changes=4)
    elif chance >= 100 - COUPON_SHARE:
        await shoppers.buy_with_coupon(basket, COUPON)
    else:
        await shoppers.buy(basket)
    if len(seen.accepted) > before and rng.randrange(100) < CANCEL_SHARE:
        # Another visit may have placed it: whose order is cancelled does not matter.
        await asyncio.to_thread(cancel, shop, next(reversed(seen.accepted)))


async def all_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """All of them; the first failure ends the others."""
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


def cancel(shop: ChaosShop, order_id: str) -> None:
    """Cancel as an operator does; an order that is completed meanwhile stays so."""
    eventually(lambda: shop.answered("POST", f"/admin/v1/orders/{order_id}/cancel") in {202, 409, 422})


async def ends(shop: ChaosShop, orders: Iterable[str]) -> dict[str, str]:
    """The status of each order at its end."""
    statuses: dict[str, str] = {}
    left = iter(orders)

    async def await_ends(session: aiohttp.ClientSession) -> None:
        for order_id in left:
            async with asyncio.timeout(WITHIN_S):
                while statuses.get(order_id) not in ENDED:
                    async with session.get(f"{shop.url}/v1/orders/{order_id}") as response:
                        statuses[order_id] = str((await response.json())["status"])
                    await asyncio.sleep(0 if statuses[order_id] in ENDED else POLL_S)

    async with aiohttp.ClientSession() as session:
        await all_of(*(await_ends(session) for _ in range(AT_ONCE)))
    return statuses


def check_books(shop: ChaosShop, seen: Seen, statuses: dict[str, str]) -> None:
    """Stock, coupons and money agree with the orders that shoppers were promised, and the store with itself."""
    assert not shop.admin("GET", "/admin/v1/orders/attention").body["orders"]
    if shop.queue is None:  # that of SQS has none here
        assert shop.admin("GET", "/admin/v1/dead-letters").body["count"] == 0
    completed = {order_id for order_id, status in statuses.items() if status == "completed"}
    sold: Counter[str] = Counter()
    for order_id in completed:
        sold.update(dict(seen.accepted[order_id].lines))
    for sku in {sku for order in seen.accepted.values() for sku, _quantity in order.lines}:
        left = DROPS.get(sku, PLENTY) - sold[sku]
        eventually(partial(shop.stock, sku), left.__eq__)
    assert all(0 < sold[sku] <= stock for sku, stock in DROPS.items())
    used = Counter(seen.accepted[order_id].coupon for order_id in completed)
    for code, uses in USES.items():
        assert 0 < used[code] <= uses
        eventually(partial(shop.coupon_uses, code), (uses - used[code]).__eq__)
    captured = Counter(each.order_id for each in shop.payments.ledger if each.kind == "captured")
    assert set(captured.values()) <= {1}
    assert shop.audit() == ""
    returned = {each.order_id for each in shop.payments.ledger if each.kind in {"refunded", "voided"}}
    assert completed == set(captured) - returned


def check_histories(seen: Seen, statuses: dict[str, str]) -> None:
    """Some order of the operations on each cart, on the drop and on the coupon, explains what each shopper saw."""
    for order_id, order in seen.accepted.items():
        if statuses[order_id] != "cancelled":
            continue
        # At some time since: nobody is told when.
        returned = Operation("give_back", 1, UNKNOWN, order.asked_s, math.inf)
        if DROP in dict(order.lines):
            seen.history.add(f"stock {DROP}", returned)
        if order.coupon == COUPON:
            seen.history.add(f"coupon {COUPON}", returned)
    stocks = {f"stock {DROP}": DROPS[DROP], f"coupon {COUPON}": USES[COUPON]}
    for key, operations in seen.history.operations.items():
        if key in stocks:
            check(operations, stocks[key], stock_after)
        else:
            check(operations, Cart(), cart_after)
