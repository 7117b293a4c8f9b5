"""The catalogue and its search index."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from cart.catalog.redis_catalog import RedisCatalog
from cart.catalog.sqlite_search import SqliteSearch
from cart.model import Sku
from checkout.cards.search import is_card_number_in
from gateway.prerequisites import BLOCKING_DEADLINE_S, StoreAddress, check_data_dir, open_store
from gateway.settings import Settings


async def open_catalog(
    settings: Settings, store: StoreAddress, stack: AsyncExitStack
) -> tuple[RedisCatalog, SqliteSearch]:
    """The catalogue and the search index that an import writes to. Raises `CannotStart`."""
    client = await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S)
    return RedisCatalog(client), await open_search(settings.data_dir, stack)


def sku_fault(sku: Sku) -> str | None:
    """Why no request can name a SKU, beyond what a path can hold; None if one can."""
    return "is a card number, which no request may hold" if is_card_number_in(sku) else None


async def open_search(data_dir: Path, stack: AsyncExitStack) -> SqliteSearch:
    """The search index of a data directory. Raises `CannotStart`."""
    check_data_dir(data_dir)
    search = SqliteSearch(data_dir / "search.sqlite3")
    await search.open()
    stack.push_async_callback(search.close)
    return search
