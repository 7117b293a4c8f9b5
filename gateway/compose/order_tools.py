"""The orders and dead letters as commands of the command line and the admin API use them, without a worker."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from cart.catalog.redis_catalog import RedisCatalog
from cart.catalog.term_desk import TermDesk
from cart.model import DAY_MS
from checkout.archive.backfill import Backfill
from checkout.archive.restoration import Restoration
from checkout.attention import OrderDesk
from checkout.coupon_desk import CouponDesk
from checkout.dead_letter_desk import DeadLetterDesk
from checkout.dispatch import Dispatch
from checkout.events.webhook_desk import WebhookDesk
from checkout.message import order_accepted
from checkout.order_search import OrderSearch
from checkout.queues.redis_dead_letters import RedisDeadLetters
from checkout.redis.books import RedisBooks
from checkout.redis.coupon_codes import RedisCouponCodes
from checkout.redis.documents import RedisDocuments
from checkout.redis.inventory import RedisInventory
from checkout.redis.order_listing import RedisOrderListing
from checkout.redis.webhooks import RedisWebhooks
from checkout.shipping.desk import ShipmentDesk
from gateway.admin.coupon_commands import CouponCommands
from gateway.admin.order_commands import OrderCommands
from gateway.admin.shipment_commands import ShipmentCommands
from gateway.admin.stock_commands import StockCommands
from gateway.admin.term_commands import TermCommands
from gateway.compose.background import Background
from gateway.compose.orders import OrderBackends, open_order_backends, order_desk, shipment_desk, sqs_adapter
from gateway.compose.outbox import open_dispatcher
from gateway.control.commands import Command
from gateway.prerequisites import BLOCKING_DEADLINE_S, CannotStart, StoreAddress, open_store
from gateway.resilience.breakers import Breakers
from gateway.settings import Settings
from store import PinnedStore, Store, is_cluster


@dataclass(frozen=True, slots=True)
class OrderTools:
    """The tools of an operator: orders to look at, and acts on them."""

    search: OrderSearch
    desk: OrderDesk
    dead_letters: DeadLetterDesk
    shipments: ShipmentDesk
    webhooks: WebhookDesk
    # None without an archive.
    restoration: Restoration | None
    backfill: Backfill | None


async def open_order_tools(settings: Settings, store: StoreAddress, stack: AsyncExitStack) -> OrderTools:
    """Open them with connections that `stack` closes, for a command. Raises `CannotStart`."""
    client = await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S)
    breakers = Breakers(settings.policies.breaker)
    backends = await open_order_backends(settings, store, client, breakers, stack, worker_name="command")
    # Without sweeps: their lease would outlive the command and hold up the processes that serve.
    dispatcher = open_dispatcher(backends, stack, Background(stack), sweeps=False)
    return await order_tools(settings, backends, stack, dispatch=dispatcher.submit)


async def open_order_commands(
    settings: Settings, backends: OrderBackends, stack: AsyncExitStack, *, dispatch: Dispatch
) -> Mapping[str, Command]:
    """The commands of the admin API by their names. Raises `CannotStart`."""
    tools = await order_tools(settings, backends, stack, dispatch=dispatch)
    orders = OrderCommands(tools.desk, tools.search, tools.dead_letters)
    stock = StockCommands(RedisInventory(backends.client))
    terms = TermCommands(TermDesk(RedisCatalog(backends.client)))
    shipments = ShipmentCommands(tools.shipments, tools.search)
    coupons = CouponCommands(coupon_desk(backends.client))
    return {**orders.by_name, **shipments.by_name, **stock.by_name, **terms.by_name, **coupons.by_name}


async def order_tools(
    settings: Settings, backends: OrderBackends, stack: AsyncExitStack, *, dispatch: Dispatch
) -> OrderTools:
    """Those over the backends of a process; `dispatch` sends the messages of acts. Raises `CannotStart`."""
    return OrderTools(
        search=OrderSearch(
            backends.readable,
            backends.index,
            RedisOrderListing(backends.pinned, is_cluster=is_cluster(backends.client)),
            backends.progress,
        ),
        desk=order_desk(backends, dispatch),
        dead_letters=await _dead_letters(settings, backends.pinned, stack),
        shipments=shipment_desk(backends, dispatch),
        webhooks=WebhookDesk(RedisWebhooks(backends.pinned)),
        restoration=_restoration(settings, backends),
        backfill=_backfill(backends),
    )


def _restoration(settings: Settings, backends: OrderBackends) -> Restoration | None:
    if backends.archive is None:
        return None
    return Restoration(
        backends.archive.archive,
        backends.archive.stored,
        backends.archive.records,
        backends.stock,
        message=order_accepted,
        keep_ms=round(settings.order_keep_days * DAY_MS),
    )


def _backfill(backends: OrderBackends) -> Backfill | None:
    if backends.archive is None:
        return None
    return Backfill(
        RedisDocuments(backends.client),
        backends.archive.stored,
        backends.archive.archive,
        make_durable=backends.orders.make_durable,
    )


async def open_dead_letters(settings: Settings, store: StoreAddress, stack: AsyncExitStack) -> DeadLetterDesk:
    """The dead letters of the queue that the settings name, for a command. Raises `CannotStart`."""
    client = await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S)
    return await _dead_letters(settings, PinnedStore(client), stack)


async def open_books(_settings: Settings, store: StoreAddress, stack: AsyncExitStack) -> RedisBooks:
    """The books of the store, for a command."""
    return RedisBooks(await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S))


async def open_whole_store(_settings: Settings, store: StoreAddress, stack: AsyncExitStack) -> Store:
    """The store, for a command that looks at its servers."""
    return await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S)


async def open_inventory(_settings: Settings, store: StoreAddress, stack: AsyncExitStack) -> RedisInventory:
    """The stock in the store, for a command."""
    return RedisInventory(await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S))


async def open_coupons(_settings: Settings, store: StoreAddress, stack: AsyncExitStack) -> CouponDesk:
    """The coupons in the store, for a command."""
    return coupon_desk(await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S))


def coupon_desk(client: Store) -> CouponDesk:
    """The coupons in this store."""
    return CouponDesk(RedisCatalog(client), RedisInventory(client), RedisCouponCodes(client))


async def open_terms(_settings: Settings, store: StoreAddress, stack: AsyncExitStack) -> TermDesk:
    """The terms of sale in the store, for a command."""
    return TermDesk(RedisCatalog(await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S)))


async def _dead_letters(settings: Settings, store: PinnedStore, stack: AsyncExitStack) -> DeadLetterDesk:
    if settings.queue_url is None:
        return DeadLetterDesk(RedisDeadLetters(store))
    with sqs_adapter():
        from checkout.queues.sqs_dead_letters import open_sqs_dead_letters

    opening = open_sqs_dead_letters(
        settings.queue_url, endpoint_url=settings.aws_endpoint_url, region=settings.aws_region
    )
    try:
        return DeadLetterDesk(await stack.enter_async_context(opening))
    except ValueError as error:
        raise CannotStart(str(error)) from error
