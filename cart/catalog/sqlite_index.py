"""The file of the embedded product search: its tables, how rows get into them, and how older files become present ones."""

from __future__ import annotations

import hashlib
import sqlite3

from cart.catalog.model import CatalogRow
from cart.catalog.words import grams_of, words_of

SCHEMA_VERSION = 4
NAMES = "CREATE VIRTUAL TABLE names USING fts5(words, content='', detail=none, columnsize=0, tokenize='ascii')"
# Of a product that was indexed by version 2 none of them is known, until it is imported again.
FACETS = (
    "ALTER TABLE products ADD COLUMN category TEXT",
    "ALTER TABLE products ADD COLUMN price INTEGER",
    "ALTER TABLE products ADD COLUMN currency TEXT",
    "CREATE INDEX by_category ON products(category) WHERE category IS NOT NULL",
)
# The name of the index, which is random; the position up to which it has the changes of the catalogue; and the highest row
# id that was ever removed: cursors are row ids, so none is given twice.
FEED = (
    "CREATE TABLE feed (name TEXT NOT NULL, position TEXT NOT NULL, removed INTEGER NOT NULL)",
    "INSERT INTO feed VALUES (lower(hex(randomblob(12))), '', 0)",
)
INSERT = """
INSERT INTO products(id, sku, words, category, price, currency)
VALUES ((SELECT max(coalesce(max(id), 0), (SELECT removed FROM feed)) + 1 FROM products), ?, ?, ?, ?, ?)
"""
# Only the words are stored, not the names: the index needs no more to remove a renamed product.
SCHEMA = (
    "CREATE TABLE products (id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, words TEXT NOT NULL)",
    NAMES,
    *FACETS,
    *FEED,
    "CREATE TABLE imports (digest TEXT PRIMARY KEY) WITHOUT ROWID",
)
INDEX = "INSERT INTO names(rowid, words) VALUES (?, ?)"
# The index holds no text: deletions must name the words.
UNINDEX = "INSERT INTO names(names, rowid, words) VALUES ('delete', ?, ?)"
# Part of the file's format: another size is another SCHEMA_VERSION. A window of the worst words takes 2 ms.
WINDOW_ROWS = 1 << 16


def upsert(writer: sqlite3.Connection, row: CatalogRow) -> None:
    """Add a product or change it. A row without a name, of a product that is not in the index, has no effect."""
    words = None if row.name is None else " ".join(dict.fromkeys(words_of(row.name)))
    existing = writer.execute(
        "SELECT id, words, category, price, currency FROM products WHERE sku = ?", (row.sku,)
    ).fetchone()
    if existing is None:
        if words is not None:
            _insert(writer, row, words)
        return
    row_id, *was = existing
    category = was[1] if row.category is None else row.category or None
    price = was[2:] if row.price is None else [row.price, row.currency]
    if row.has_scheduled_prices:
        price = [None, None]
    now = [was[0] if words is None else words, category, *price]
    if now == was:
        return
    if now[:2] != was[:2]:
        writer.execute(UNINDEX, (row_id, _indexed(was[0], was[1], row_id)))
        writer.execute(INDEX, (row_id, _indexed(now[0], now[1], row_id)))
    writer.execute("UPDATE products SET words = ?, category = ?, price = ?, currency = ? WHERE id = ?", (*now, row_id))


def remove(writer: sqlite3.Connection, sku: str) -> None:
    """Remove a product, if it is in the index."""
    found = writer.execute("SELECT id, words, category FROM products WHERE sku = ?", (sku,)).fetchone()
    if found is not None:
        row_id, words, category = found
        writer.execute(UNINDEX, (row_id, _indexed(words, category, row_id)))
        writer.execute("DELETE FROM products WHERE id = ?", (row_id,))
        writer.execute("UPDATE feed SET removed = max(removed, ?)", (row_id,))


def _insert(writer: sqlite3.Connection, row: CatalogRow, words: str) -> None:
    category = row.category or None
    price = (None, None) if row.has_scheduled_prices else (row.price, row.currency)
    row_id = writer.execute(INSERT, (row.sku, words, category, *price)).lastrowid
    assert row_id is not None
    writer.execute(INDEX, (row_id, _indexed(words, category, row_id)))


def category_term(category: str, window: int) -> str:
    """The term of a category in a window. It is a digest, because a category has all sorts of characters."""
    return f"{window:04x}c{hashlib.blake2b(category.encode(), digest_size=12, person=b'category').hexdigest()}"


def _indexed(words: str, category: str | None, row_id: int) -> str:
    """The terms of a row: its words and their parts, and its category, each with the window of the row."""
    window = f"{row_id // WINDOW_ROWS:04x}"
    each = words.split()
    grams = {gram: None for word in each for gram in grams_of(word)}
    terms = [f"{window}w{word}" for word in each]
    terms += [f"{window}g{gram}" for gram in grams]
    if category is not None:
        terms.append(category_term(category, row_id // WINDOW_ROWS))
    return " ".join(terms)


def upgrade(writer: sqlite3.Connection, version: int) -> None:
    """Make an index of the present version of an earlier one.

    Files count as not imported in one of version 1 or 2: the next import brings the prices and categories, and to version 1
    also the words of scripts with marks that are vowels.
    """
    if version < 3:
        writer.execute("DELETE FROM imports")
        if version == 1:
            _index_again(writer)
        for statement in FACETS:
            writer.execute(statement)
    for statement in FEED:
        writer.execute(statement)


def _index_again(writer: sqlite3.Connection) -> None:
    """Make an index with parts of words of one that has none."""
    writer.execute("DROP TABLE names")
    writer.execute(NAMES)
    after = 0
    while rows := writer.execute(
        "SELECT id, words FROM products WHERE id > ? ORDER BY id LIMIT 1000", (after,)
    ).fetchall():
        for row_id, words in rows:
            writer.execute(INDEX, (row_id, _indexed(words, None, row_id)))
        after = rows[-1][0]


def version_of(connection: sqlite3.Connection) -> int:
    """The version of a file; 0 for a new one."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
