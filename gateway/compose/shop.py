"""The endpoints of the shop: carts, products and checkout."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from cart.catalog.handlers import ProductHandlers
from cart.catalog.redis_catalog import RedisCatalog, RedisPriceBook
from cart.handlers import CartHandlers
from cart.redis_carts import RedisCarts
from checkout.guarded import GuardedSink
from checkout.handlers import CheckoutHandlers
from checkout.message import order_accepted
from checkout.outbox import OutboxDispatcher
from checkout.redis_outbox import RedisOutbox
from checkout.sweeper import StockSweeper
from gateway.api.binding import Route
from gateway.api.routes import cart_routes, checkout_routes, product_routes
from gateway.compose.background import Background
from gateway.compose.catalog import open_search
from gateway.compose.orders import OrderBackends
from gateway.resilience.guarded_search import GuardedSearch, is_search_failure
from gateway.settings import Settings

_DAY_S: Final = 86_400
# Orders that are not sent by then are sent by the sweep of another process.
_OUTBOX_DRAIN_S: Final = 2.0


async def open_shop(
    settings: Settings, backends: OrderBackends, prices: RedisPriceBook, stack: AsyncExitStack, background: Background
) -> tuple[CheckoutHandlers, Sequence[Route]]:
    """The checkout, and the routes of everything that shoppers call."""
    catalog = RedisCatalog(backends.client)
    search = GuardedSearch(
        await open_search(settings.data_dir, stack), backends.breakers.of("search", is_failure=is_search_failure)
    )
    carts = RedisCarts(backends.client)
    checkout = _open_checkout(backends, prices, carts, stack, background)
    cart_handlers = CartHandlers(
        carts,
        prices,
        default_currency=settings.currency,
        max_lines=settings.max_lines,
        max_quantity=settings.max_quantity,
        anonymous_ttl_s=int(settings.anonymous_cart_days * _DAY_S),
        owned_ttl_s=int(settings.owned_cart_days * _DAY_S),
    )
    products = ProductHandlers(prices=prices, stock=catalog, search=search, show_stock=settings.show_stock)
    return checkout, (*cart_routes(cart_handlers), *product_routes(products), *checkout_routes(checkout))


def _open_checkout(
    backends: OrderBackends,
    prices: RedisPriceBook,
    carts: RedisCarts,
    stack: AsyncExitStack,
    background: Background,
) -> CheckoutHandlers:
    dispatcher = OutboxDispatcher(
        RedisOutbox(backends.client), GuardedSink(backends.queue, backends.breakers.of("queue"))
    )
    checkout = CheckoutHandlers(
        orders=backends.orders,
        stock=backends.stock,
        prices=prices,
        merges=carts,
        message=order_accepted,
        dispatch=dispatcher.submit,
    )
    background.start("prices", prices.watch)
    background.start("stock sweeper", StockSweeper(backends.orders, backends.stock).run)
    background.start("outbox", dispatcher.run)
    stack.push_async_callback(dispatcher.drain, _OUTBOX_DRAIN_S)
    stack.push_async_callback(checkout.close)
    return checkout
