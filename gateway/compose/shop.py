"""The endpoints of the shop: carts, products and checkout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from cart.catalog.handlers import ProductHandlers
from cart.catalog.price_desk import PriceDesk
from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.catalog.redis_trends import RedisTrends
from cart.catalog.search_feed import SearchFeed
from cart.catalog.trending import Trending, TrendingHandlers
from cart.handlers import CartHandlers
from cart.redis_carts import RedisCarts
from cart.stock_watch import StockWatch
from checkout.cart_hold_sweeper import CartHoldSweeper
from checkout.dispatch import Dispatch
from checkout.fact_intake import FactIntake
from checkout.handlers import CheckoutHandlers
from checkout.message import order_accepted
from checkout.order_events import OrderEvents
from checkout.order_lists import OrderLists
from checkout.payments.webhooks import PaymentWebhookIntake
from checkout.place_order import IsQueued
from checkout.quotes import QuoteHandlers
from checkout.redis.agent_sessions import RedisAgentSessions
from checkout.redis.cart_holds import RedisCartHolds
from checkout.redis.changes import RedisOrderChanges, RedisStockNotices
from checkout.shipping.webhooks import ShippingWebhooks
from checkout.sold_out import SoldOut
from checkout.sweeper import StockSweeper
from checkout.tariff.tariff import TariffInForce
from gateway.api.binding import Route
from gateway.api.events import EventStreams
from gateway.api.home_calls import HomeCalls
from gateway.api.routes import cart_routes, checkout_routes, product_routes, quote_routes, trending_routes
from gateway.api.webhook_routes import webhook_routes
from gateway.compose.agents import open_agents
from gateway.compose.background import Background
from gateway.compose.catalog import open_search
from gateway.compose.orders import OrderBackends
from gateway.compose.payments import payment_webhooks
from gateway.compose.shipping import shipping_webhook_signer
from gateway.prerequisites import StoreAddress
from gateway.resilience.guarded_search import GuardedSearch, is_search_failure
from gateway.settings import Settings
from primitives.stream_limit import StreamLimit
from store import open_subscriber

_DAY_S: Final = 86_400
# Of the admin API, which waits for a command for 10 s.
_LEASE_WAIT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Shop:
    """The checkout, the streams of order events, and the routes of everything that shoppers call."""

    checkout: CheckoutHandlers
    event_streams: EventStreams
    routes: Sequence[Route]
    reports: FactIntake
    trending: Trending | None
    price_desk: PriceDesk


async def open_shop(  # noqa: PLR0917 - each is a part of a process that is opened once
    settings: Settings,
    store: StoreAddress,
    backends: OrderBackends,
    prices: RedisPriceBook,
    tariff: TariffInForce,
    stream_limit: StreamLimit,
    stack: AsyncExitStack,
    background: Background,
    *,
    dispatch: Dispatch,
    is_queued: IsQueued | None,
    home_calls: HomeCalls,
    is_strained: Callable[[], bool],
) -> Shop:
    """Open everything that shoppers call; `dispatch` sends the messages of orders, `is_queued` waits for it.

    While the process `is_strained`, it does without trending products.
    """
    catalog = RedisCatalog(backends.client)
    index = await open_search(settings, store, stack, deadline_s=settings.store_timeout)
    if settings.search == "sqlite":
        # The others have one index for all hosts.
        background.start("search feed", SearchFeed(catalog, index).run)
    search = GuardedSearch(index, backends.breakers.of("search", is_failure=is_search_failure))
    carts = RedisCarts(backends.client)
    trending = _open_trending(settings, backends, background, is_strained)
    subscriber = open_subscriber(store.url, backends.client)
    background.start("changes of orders and stock", subscriber.run)
    checkout = _open_checkout(
        *(backends, prices, tariff, carts, background),
        dispatch=dispatch,
        is_queued=is_queued,
        trending=trending,
        sold_out=SoldOut(RedisStockNotices(subscriber)),
    )
    stack.push_async_callback(checkout.close)
    stock_watch = StockWatch(catalog)
    cart_holds = RedisCartHolds(backends.client)
    cart_handlers = CartHandlers(
        carts,
        prices,
        default_currency=settings.currency,
        max_lines=settings.max_lines,
        max_quantity=settings.max_quantity,
        anonymous_ttl_s=int(settings.anonymous_cart_days * _DAY_S),
        owned_ttl_s=int(settings.owned_cart_days * _DAY_S),
        stock=stock_watch,
        show_stock=settings.show_stock,
        holds=cart_holds,
    )
    background.start("stock of carts", stock_watch.run)
    background.start("holds of carts", CartHoldSweeper(cart_holds).run)
    products = ProductHandlers(prices=prices, stock=catalog, search=search, show_stock=settings.show_stock)
    events = OrderEvents(checkout, RedisOrderChanges(subscriber))
    streams = EventStreams(checkout, events, stream_limit, home_calls=home_calls)
    lists = OrderLists(backends.readable, backends.index)
    reports = FactIntake(backends.readable, message=order_accepted, dispatch=dispatch)
    routes = (
        *cart_routes(cart_handlers, backends.privacy.pseudonyms.of_owner),
        *product_routes(products, currency=settings.currency, is_search_remote=settings.search == "opensearch"),
        *(
            ()
            if trending is None
            else trending_routes(TrendingHandlers(trending, products), currency=settings.currency)
        ),
        *checkout_routes(checkout, lists, streams, home_calls=home_calls),
        *quote_routes(QuoteHandlers(carts, checkout.pricing, tariff), backends.privacy.pseudonyms.of_owner),
        *_webhook_routes(settings, reports),
        *open_agents(
            settings.policies.agents,
            RedisAgentSessions(backends.client, backends.privacy.sealer, backends.privacy.pseudonyms),
            carts=cart_handlers,
            checkout=checkout,
            prices=prices,
            tariff=tariff,
        ),
    )
    return Shop(
        checkout,
        streams,
        routes,
        reports,
        trending,
        PriceDesk(catalog, index, lease_wait_s=_LEASE_WAIT_S),
    )


def _webhook_routes(settings: Settings, intake: FactIntake) -> Sequence[Route]:
    """The webhooks of the services that have a secret."""
    carrier = shipping_webhook_signer(settings)
    payments = payment_webhooks(settings)
    return webhook_routes(
        shipping=None if carrier is None else ShippingWebhooks(carrier, intake),
        payments=None if payments is None else PaymentWebhookIntake(payments, intake),
    )


def _open_trending(
    settings: Settings, backends: OrderBackends, background: Background, is_paused: Callable[[], bool]
) -> Trending | None:
    if not settings.trending_half_life:
        return None
    trends = RedisTrends(backends.client, half_life_s=settings.trending_half_life)
    trending = Trending(trends, is_paused=is_paused)
    background.start("trending products", trending.run)
    return trending


def _open_checkout(
    backends: OrderBackends,
    prices: RedisPriceBook,
    tariff: TariffInForce,
    carts: RedisCarts,
    background: Background,
    *,
    dispatch: Dispatch,
    is_queued: IsQueued | None,
    trending: Trending | None,
    sold_out: SoldOut,
) -> CheckoutHandlers:
    checkout = CheckoutHandlers(
        orders=backends.readable,
        stock=backends.stock,
        prices=prices,
        tariff=tariff,
        merges=carts,
        message=order_accepted,
        dispatch=dispatch,
        index=backends.index,
        digest=backends.privacy.pseudonyms.digest,
        shoppers_of=backends.privacy.pseudonyms.of_shopper,
        is_queued=is_queued,
        on_accepted=None if trending is None else lambda order: trending.count(line.sku for line in order.lines),
        sold_out=sold_out,
    )
    background.start("prices", prices.watch)
    background.start("stock sweeper", StockSweeper(backends.orders, backends.stock, pinned=backends.pinned.pinned).run)
    return checkout
