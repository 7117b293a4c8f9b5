"""The product search behind a circuit breaker, so that an index that fails or hangs gets no calls."""

from __future__ import annotations

from collections.abc import Sequence

from cart.catalog.model import CatalogRow, ProductFilter
from cart.catalog.ports import ForeignCursor, ProductSearch, SearchHits, SearchUnavailable
from cart.model import Sku
from checkout.errors import DependencyTripped
from checkout.ports.services import Guard


def is_search_failure(error: Exception) -> bool:
    """Whether an exception is a failure of the index; a cursor of another query is an error of the client."""
    return not isinstance(error, ForeignCursor)


class GuardedSearch:
    """A `ProductSearch` that raises `SearchUnavailable` while its breaker is open. Imports are not guarded."""

    def __init__(self, search: ProductSearch, guard: Guard) -> None:
        self._search = search
        self._guard = guard

    async def page(
        self, *, limit: int, cursor: str | None = None, q: str | None = None, only: ProductFilter | None = None
    ) -> SearchHits:
        """See `ProductSearch.page`."""
        try:
            return await self._guard.call(lambda: self._search.page(limit=limit, cursor=cursor, q=q, only=only))
        except DependencyTripped as tripped:
            raise SearchUnavailable(str(tripped)) from tripped

    async def upsert(self, rows: Sequence[CatalogRow]) -> None:
        """See `ProductSearch.upsert`."""
        await self._search.upsert(rows)

    async def remove(self, skus: Sequence[Sku]) -> None:
        """See `ProductSearch.remove`."""
        await self._search.remove(skus)

    async def name(self) -> str:
        """See `ProductSearch.name`."""
        return await self._search.name()

    async def position(self) -> str:
        """See `ProductSearch.position`."""
        return await self._search.position()

    async def mark_position(self, position: str) -> None:
        """See `ProductSearch.mark_position`."""
        await self._search.mark_position(position)

    async def has_imported(self, digest: str) -> bool:
        """See `ProductSearch.has_imported`."""
        return await self._search.has_imported(digest)

    async def mark_imported(self, digest: str) -> None:
        """See `ProductSearch.mark_imported`."""
        await self._search.mark_imported(digest)
