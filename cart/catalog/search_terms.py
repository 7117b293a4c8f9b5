"""The products and queries of an index that several hosts share, as terms."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from cart.catalog.model import CatalogRow, ProductFilter
from cart.catalog.words import grams_of, is_found_inside, is_match, wanted_grams, words_of
from cart.model import Sku

# A query's parts beyond these would cost more than they exclude.
MAX_GRAMS: Final = 64
# In a position, products that have the words inside others come behind all that have the words.
INSIDE_FROM: Final = 1 << 60
# The term of a product whose price is unknown.
NO_PRICE: Final = "u"
MEMBERS: Final = ("words", "category", "price", "currency")


class Document(msgspec.Struct, frozen=True):
    """A product in the index; `number` is 0 before it has one."""

    sku: Sku
    words: str
    category: str | None = None
    price: int | None = None
    currency: str | None = None
    number: int = 0

    @classmethod
    def read(cls, sku: Sku, values: Sequence[bytes | None]) -> Document:
        """The document of the values of `number` and `MEMBERS`."""
        number, words, category, price, currency = (None if value is None else value.decode() for value in values)
        return cls(sku, words or "", category, None if price is None else int(price), currency, int(number or 0))

    def fields(self) -> list[tuple[str, str | int]]:
        """The members that are set, by their names."""
        values = [(name, getattr(self, name)) for name in MEMBERS]
        return [(name, value) for name, value in values if value is not None]

    def terms(self) -> list[str]:
        """The terms by which it is found."""
        words = self.words.split()
        grams = dict.fromkeys(gram for word in words for gram in grams_of(word))
        terms = [*(term_of("w", word) for word in words), *(term_of("g", gram) for gram in grams)]
        if self.category is not None:
            terms.append(category_term(self.category))
        if self.price is None:
            terms.append(NO_PRICE)
        return terms


def merge(was: Document | None, row: CatalogRow) -> Document | None:
    """The document after this row; None if there is none and the row has no name."""
    words = None if row.name is None else " ".join(dict.fromkeys(words_of(row.name)))
    if was is None:
        if words is None:
            return None
        was = Document(row.sku, words)
    price = (row.price, row.currency) if row.price is not None else (was.price, was.currency)
    if row.has_scheduled_prices:
        price = None, None
    return Document(
        was.sku,
        was.words if words is None else words,
        was.category if row.category is None else row.category or None,
        *price,
        was.number,
    )


def changes_of(rows: Sequence[CatalogRow], known: Mapping[Sku, Document | None]) -> dict[Sku, Document]:
    """The documents that these rows change or make, in their order; those without a number are new."""
    changed: dict[Sku, Document] = {}
    for row in rows:
        document = merge(changed.get(row.sku) or known[row.sku], row)
        if document is not None and document != known[row.sku]:
            changed[row.sku] = document
    return changed


def admits(only: ProductFilter, document: Document) -> bool:
    """Whether a filter admits a product of the index."""
    is_in_category = only.category is None or only.category == document.category
    if document.price is None or document.currency is None:
        return is_in_category
    return is_in_category and only.admits_price(document.price, document.currency)


class Found(NamedTuple):
    """A product of a reply, with its number and words."""

    number: int
    sku: Sku
    words: frozenset[str]


class Query(NamedTuple):
    """One kind of match: products with all these terms and a price that `only` admits.

    `is_match` tests the products found, if it is needed. `positions_from` is where positions of such matches begin.
    """

    terms: Sequence[str]
    only: ProductFilter | None
    is_match: Callable[[Found], bool] | None = None
    positions_from: int = 0


def queries_of(q: str | None, only: ProductFilter | None) -> Sequence[Query]:
    """The queries for these words and this filter, the best matches first."""
    in_category = [] if only is None or only.category is None else [category_term(only.category)]
    if q is None:
        return (Query(in_category, only),)
    words = list(dict.fromkeys(words_of(q)))
    if not words:
        return ()
    whole = Query([term_of("w", word) for word in words] + in_category, only)
    inside = [word for word in words if is_found_inside(word)]
    if not inside:
        return (whole,)
    wanted = frozenset(words)
    grams = dict.fromkeys(gram for word in inside for gram in wanted_grams(word))
    terms = [term_of("w", word) for word in words if word not in inside]
    terms += [term_of("g", gram) for gram in islice(grams, MAX_GRAMS)]

    def is_inside(found: Found) -> bool:
        return not wanted <= found.words and all(is_match(word, found.words) for word in wanted)

    return whole, Query(terms + in_category, only, is_inside, INSIDE_FROM)


def term_of(kind: str, text: str) -> str:
    """A term of lower-case letters and digits of ASCII: the syntax of queries needs no escapes then."""
    return f"{kind}{text}" if text.isascii() else f"{kind}{kind}x{text.encode().hex()}"


def category_term(category: str) -> str:
    """The term of a category."""
    return f"c{hashlib.blake2b(category.encode(), digest_size=12, person=b'category').hexdigest()}"
