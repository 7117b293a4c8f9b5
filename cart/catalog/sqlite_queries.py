"""The queries of the embedded product search, in chunks of rows: between two chunks the caller may look at its clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice

from cart.catalog import sqlite_index
from cart.catalog.model import ProductFilter
from cart.catalog.sqlite_index import category_term
from cart.catalog.words import is_found_inside, wanted_grams
from cart.ids import parse_sku
from cart.model import Sku

SOME = "SELECT id, sku, {} FROM products WHERE {} id > ? ORDER BY id LIMIT ?"
EXACT = "SELECT id, sku, category, {} FROM products WHERE sku = ?"
LAST = "SELECT coalesce(max(id), 0) FROM products"
MATCHING = """
SELECT products.id, products.sku, {} FROM names JOIN products ON products.id = names.rowid
WHERE names MATCH ? AND names.rowid > ? AND names.rowid <> ? {} ORDER BY names.rowid LIMIT ?
"""
# Whether the price is in a range, or unknown.
IN_RANGE = "(price IS NULL OR (currency = ? AND price BETWEEN ? AND ?))"
# The parts of a word may be in a name and the word not.
INSIDE = "AND instr(products.words, ?)"
# A query's parts beyond these would cost more than they exclude.
MAX_GRAMS = 64
# Products whose prices are compared between two looks at the clock: some 2 ms.
CHUNK_ROWS = 2048
MAX_ROW_ID = (1 << 63) - 1
# In a cursor, the rows that have the words inside others come behind all rows that have the words.
INSIDE_FROM = MAX_ROW_ID + 1


Row = tuple[int, str]
# Some rows, the last position that was searched for them, and whether it is the end of a part of the search.
Chunk = tuple[list[Row], int, bool]


class Only:
    """A filter in the terms of SQL. A category is a term of the index, and so costs nothing; prices are compared row by row."""

    def __init__(self, only: ProductFilter | None) -> None:
        self._only = only
        self.category = None if only is None else only.category
        self.price_sql = "1"
        self.price_values: tuple[object, ...] = ()
        if only is not None and only.has_prices:
            self.price_sql = IN_RANGE
            high = MAX_ROW_ID if only.max_price is None else only.max_price
            self.price_values = (only.currency, only.min_price or 0, high)

    def chunk_rows(self, wanted: int) -> int:
        """How many rows to read at once for that many wanted ones."""
        return CHUNK_ROWS if self.price_values else wanted

    def exact(self, reader: sqlite3.Connection, q: str) -> tuple[int, list[Sku]]:
        """The row id of the product whose SKU is `q`, 0 if there is none; and its SKU if the filter admits it."""
        found = reader.execute(EXACT.format(self.price_sql), (*self.price_values, parse_sku(q))).fetchone()
        if found is None:
            return 0, []
        row_id, sku, category, is_in_range = found
        is_admitted = is_in_range and self.category in {None, category}
        return row_id, [Sku(sku)] if is_admitted else []


def listed(reader: sqlite3.Connection, only: Only, after: int, size: int) -> Iterator[Chunk]:
    """The rows of a filter behind the row `after`, as many as have their prices compared at once."""
    in_category = "" if only.category is None else "category = ? AND"
    sql = SOME.format(only.price_sql, in_category)
    category = () if only.category is None else (only.category,)
    while True:
        found = reader.execute(sql, (*only.price_values, *category, after, size)).fetchall()
        if not found:
            return
        after, is_end = found[-1][0], len(found) < size
        yield [(row_id, sku) for row_id, sku, is_in_range in found if is_in_range], after, is_end
        if is_end:
            return


def ranked(
    reader: sqlite3.Connection, queries: Sequence[Query], after: int, exact_id: int, size: int
) -> Iterator[Chunk]:
    """The rows behind the position `after`, query by query and window by window."""
    window_rows = sqlite_index.WINDOW_ROWS
    last_window: int = reader.execute(LAST).fetchone()[0] // window_rows
    for query in queries:
        row_id = max(after - query.positions_from, 0)
        for window in range((row_id + 1) // window_rows, last_window + 1):
            is_window_end = False
            while not is_window_end:
                found = query.rows(reader, window, row_id, exact_id, size)
                is_window_end = len(found) < size
                row_id = (window + 1) * window_rows - 1 if is_window_end else found[-1][0]
                rows = [(query.positions_from + found_id, sku) for found_id, sku, is_in_range in found if is_in_range]
                yield rows, query.positions_from + row_id, is_window_end and window == last_window


class Query:
    """One kind of match: names with all words, or with some of them inside other words."""

    def __init__(self, words: Sequence[str], only: Only, *, is_inside: bool) -> None:
        self.positions_from = INSIDE_FROM if is_inside else 0
        self._inside = [word for word in words if is_inside and is_found_inside(word)]
        self._sql = MATCHING.format(only.price_sql, " ".join([INSIDE] * len(self._inside)))
        self._only = only
        self._words = words
        self._is_inside = is_inside

    def rows(
        self, reader: sqlite3.Connection, window: int, after: int, exact_id: int, limit: int
    ) -> list[tuple[int, str, int]]:
        """The rows of that window after a row id, without the one of the exact SKU; and whether their prices are in range."""
        values = (*self._only.price_values, self._match(window), after, exact_id, *self._inside, limit)
        return reader.execute(self._sql, values).fetchall()

    def _match(self, window: int) -> str:
        """The expression for the rows of that window."""
        words = " ".join(f'"{window:04x}w{word}"' for word in self._words)
        category = "" if self._only.category is None else f'"{category_term(self._only.category, window)}" '
        if not self._is_inside:
            return category + words
        whole = (f'"{window:04x}w{word}"' for word in self._words if word not in self._inside)
        grams = dict.fromkeys(gram for word in self._inside for gram in wanted_grams(word))
        parts = (f'"{window:04x}g{gram}"' for gram in islice(grams, MAX_GRAMS))
        return f"({category}{' '.join((*whole, *parts))}) NOT ({words})"


def queries_of(words: Sequence[str], only: Only) -> Sequence[Query]:
    """The queries for these words, the best matches first."""
    words = list(dict.fromkeys(words))
    if not words:
        return ()
    whole = Query(words, only, is_inside=False)
    return (whole, Query(words, only, is_inside=True)) if any(map(is_found_inside, words)) else (whole,)
