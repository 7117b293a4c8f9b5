"""The terms of sale of a product, as the people of a shop see them and change them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from cart.catalog.model import CatalogRow, patched_terms
from cart.catalog.ports import Catalog
from cart.errors import ProductNotFound
from cart.model import NO_TERMS, Sku

# The terms that stock goes by; the others are those of prices.
STOCK_TERMS: Final = ("per_shopper", "sold_ahead", "ahead_limit", "available_on", "hold_at_cart")


class TermDesk:
    """The terms of stock in the catalogue, beside live sales. Its calls raise `ProductNotFound`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def show(self, sku: Sku) -> dict[str, object]:
        """The terms of now by their names, each with its default where it is not set."""
        (row,) = await self._catalog.rows([sku])
        if row is None:
            raise ProductNotFound(sku)
        terms = patched_terms(NO_TERMS, row.terms)
        return {name: getattr(terms, name) for name in STOCK_TERMS}

    async def change(self, sku: Sku, changes: Mapping[str, object]) -> dict[str, object]:
        """Set these terms, where None is the default; returns all of them after that. Safe to repeat."""
        counts = await self._catalog.put([CatalogRow(sku, terms=msgspec.json.encode(changes).decode())])
        if counts.changed:
            await self._catalog.raise_epoch()
        return await self.show(sku)
