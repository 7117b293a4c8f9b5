"""The product search behind a breaker: an index that fails or hangs is left alone, and can be drilled."""

from __future__ import annotations

from collections.abc import Sequence

from cart.catalog.ports import ForeignCursor, ProductSearch, SearchHits, SearchUnavailable
from cart.model import Sku
from checkout.errors import DependencyTripped
from checkout.ports import Guard


def speaks_against_search(error: Exception) -> bool:
    """Whether the index has failed: a cursor of another query is the shopper's."""
    return not isinstance(error, ForeignCursor)


class GuardedSearch:
    """A `ProductSearch` that raises `SearchUnavailable` while it is cut off. Imports are not kept from it."""

    def __init__(self, search: ProductSearch, guard: Guard) -> None:
        self._search = search
        self._guard = guard

    async def page(self, *, limit: int, cursor: str | None = None, q: str | None = None) -> SearchHits:
        """See `ProductSearch.page`."""
        try:
            return await self._guard.call(lambda: self._search.page(limit=limit, cursor=cursor, q=q))
        except DependencyTripped as tripped:
            raise SearchUnavailable(str(tripped)) from tripped

    async def upsert(self, products: Sequence[tuple[Sku, str]]) -> None:
        """See `ProductSearch.upsert`."""
        await self._search.upsert(products)

    async def has_imported(self, digest: str) -> bool:
        """See `ProductSearch.has_imported`."""
        return await self._search.has_imported(digest)

    async def mark_imported(self, digest: str) -> None:
        """See `ProductSearch.mark_imported`."""
        await self._search.mark_imported(digest)
