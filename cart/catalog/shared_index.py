"""Pages of a search whose index several hosts share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from cart.catalog.model import ProductFilter
from cart.catalog.ports import SearchHits
from cart.catalog.search_cursors import ANY_POSITION, cursor_of, position_of, query_bytes
from cart.catalog.search_terms import INSIDE_FROM, Document, Query, admits, queries_of
from cart.ids import parse_sku
from cart.model import Sku


class SharedIndex(Protocol):
    """An index of documents, on a server."""

    def chunks(
        self, queries: Sequence[Query], after: int, size: int
    ) -> AsyncIterator[tuple[list[tuple[int, Sku]], int | None]]:
        """Matches by their positions, query by query; and the last position that was searched, None at the end."""
        ...

    async def read(self, skus: Sequence[Sku]) -> Mapping[Sku, Document | None]:
        """The documents of these SKUs."""
        ...


async def page_of(
    index: SharedIndex,
    *,
    limit: int,
    cursor: str | None,
    q: str | None,
    only: ProductFilter | None,
    budget_s: float,
    clock: Callable[[], float],
) -> SearchHits:
    """See `ProductSearch.page`. A page that the time budget cut short may hold fewer SKUs and have a next cursor."""
    query = query_bytes(q, only)
    after = 0 if cursor is None else position_of(cursor, query, INSIDE_FROM if q is None else ANY_POSITION)
    exact = None if q is None else parse_sku(q)
    head: list[Sku] = []
    if exact is not None and cursor is None and await _is_admitted(index, exact, only):
        head = [exact]
    wanted = limit - len(head)
    found: list[tuple[int, Sku]] = []
    reached: int | None = None
    deadline = clock() + budget_s
    async for matches, position in index.chunks(queries_of(q, only), after, wanted + 1):
        found += [(at, sku) for at, sku in matches if sku != exact]
        if len(found) > wanted:
            reached = found[wanted - 1][0] if wanted else after
            break
        if position is not None and clock() >= deadline:
            reached = position
            break
    skus = head + [sku for _, sku in found[:wanted]]
    return SearchHits(skus, None if reached is None else cursor_of(reached, query))


async def _is_admitted(index: SharedIndex, sku: Sku, only: ProductFilter | None) -> bool:
    document = (await index.read([sku]))[sku]
    return document is not None and (only is None or admits(only, document))
