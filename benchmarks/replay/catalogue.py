"""The prices and stock of a shop, read from its API."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from benchmarks.replay.client import ShopClient
from benchmarks.replay.responses import Product, ProductPage
from benchmarks.replay.retry import RetryPolicy

_PAGE = 100  # the largest page that the API gives


class CatalogueMismatch(Exception):
    """The baskets cannot be bought in this shop; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class ShopCatalogue:
    """Prices (minor units of `currency`) and, where the shop shows it, stock by SKU."""

    currency: str
    prices: Mapping[str, int]
    stock: Mapping[str, int]

    def cost(self, quantities: Mapping[str, int]) -> int:
        """Minor units that these quantities by SKU cost."""
        return sum(quantity * self.prices[sku] for sku, quantity in quantities.items())


async def fetch_catalogue(client: ShopClient, skus: Collection[str], retry: RetryPolicy) -> ShopCatalogue:
    """Page through `GET /v1/products` until every one of the SKUs has been seen.

    Raises CatalogueMismatch if the shop lacks a SKU, sells them in several currencies or does not give its products, and
    GaveUp after too long without progress.
    """
    found: dict[str, Product] = {}
    cursor: str | None = ""
    while cursor is not None and len(found) < len(skus):
        page = await _fetch_page(client, cursor, retry)
        found.update((product.sku, product) for product in page.products if product.sku in skus)
        cursor = page.next_cursor
    if missing := set(skus) - set(found):
        raise CatalogueMismatch(_not_sold(missing, len(skus)))
    currencies = {product.price.currency for product in found.values()}
    if len(currencies) != 1:
        raise CatalogueMismatch(f"the shop sells these SKUs in several currencies: {', '.join(sorted(currencies))}")
    return ShopCatalogue(
        currency=currencies.pop(),
        prices={sku: product.price.amount for sku, product in found.items()},
        stock={sku: product.stock for sku, product in found.items() if product.stock is not None},
    )


async def _fetch_page(client: ShopClient, cursor: str, retry: RetryPolicy) -> ProductPage:
    query = f"?limit={_PAGE}" + (f"&cursor={quote(cursor, safe='')}" if cursor else "")
    # The stock of this moment: a page from a cache may be a second old, and short replays take less.
    headers = {"Cache-Control": "no-cache"}
    response = await client.call("page of products", "GET", f"/v1/products{query}", headers=headers, retry=retry)
    if response.status != 200:
        raise CatalogueMismatch(f"GET /v1/products returned {response.status} {response.problem}".rstrip())
    try:
        page = response.decode(ProductPage)
    except msgspec.DecodeError as error:
        raise CatalogueMismatch(f"GET /v1/products did not return a page of products ({error})") from error
    retry.progressed()
    return page


def _not_sold(missing: Collection[str], wanted: int) -> str:
    named = ", ".join(sorted(missing)[:5]) + (", …" if len(missing) > 5 else "")
    return f"{len(missing):,} of the {wanted:,} SKUs in the file are not in the shop's catalogue: {named}"
