"""The search behind a breaker."""

from __future__ import annotations

import pytest

from cart.catalog.memory import MemorySearch
from cart.catalog.model import CatalogRow
from cart.catalog.ports import ForeignCursor, SearchUnavailable
from cart.model import Sku
from gateway.resilience.breaker_model import State
from gateway.resilience.breakers import Breakers
from gateway.resilience.guarded_search import GuardedSearch, is_search_failure


def guarded() -> tuple[GuardedSearch, Breakers]:
    breakers = Breakers({})
    return GuardedSearch(MemorySearch(), breakers.of("search", is_failure=is_search_failure)), breakers


async def test_it_returns_hits_of_the_index() -> None:
    search, _ = guarded()
    await search.upsert([CatalogRow(Sku("A"), "RED HEART")])
    await search.mark_imported("digest")
    assert (await search.page(limit=10, q="red")).skus == ["A"]
    assert await search.has_imported("digest")


async def test_an_open_breaker_makes_the_search_unavailable() -> None:
    search, breakers = guarded()
    breakers.trip("search", "drill")
    with pytest.raises(SearchUnavailable):
        await search.page(limit=10)
    breakers.release("search")
    assert (await search.page(limit=10)).skus == []


async def test_cursors_of_other_queries_do_not_cut_it_off() -> None:
    search, breakers = guarded()
    for _ in range(50):
        with pytest.raises(ForeignCursor):
            await search.page(limit=10, cursor="1:other")
    assert breakers.of("search").state is State.CLOSED
