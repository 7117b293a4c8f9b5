"""The checked rows of an import, in a temporary SQLite file that finds repeated SKUs."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from cart.catalog.files import NumberedRow, Rejection
from cart.catalog.model import CatalogRow
from cart.model import Sku


class Staging:
    """Rows in the new file at `path`, in the order of their lines. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Nobody reads the file after a crash: no journal, no waiting for the disk.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -32768"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute(
            "CREATE TABLE staged (line INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, name TEXT, price INT, currency TEXT, stock INT,"
            " category TEXT, terms TEXT)"
        )

    def add(self, records: Sequence[NumberedRow | Rejection]) -> tuple[int, list[Rejection]]:
        """Add the rows among the records; returns the number of added rows, and the rejections, those of repeated SKUs too."""
        rows = [record for record in records if isinstance(record, NumberedRow)]
        rejections = [record for record in records if isinstance(record, Rejection)]
        before = self._db.total_changes
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT OR IGNORE INTO staged VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(line, *msgspec.structs.astuple(row)) for line, row in rows],
        )
        self._db.execute("COMMIT")
        added = self._db.total_changes - before
        if added < len(rows):
            rejections = sorted([*rejections, *self._repeats(rows)])
        return added, rejections

    def _repeats(self, rows: Sequence[NumberedRow]) -> list[Rejection]:
        lines = [self._db.execute("SELECT line FROM staged WHERE sku = ?", (row.sku,)).fetchone()[0] for _, row in rows]
        return [
            Rejection(line, f"sku {row.sku!a} is on line {first} already")
            for first, (line, row) in zip(lines, rows, strict=True)
            if first != line
        ]

    def reject(self, skus: Collection[Sku], reason: str) -> list[Rejection]:
        """Take the rows of these SKUs out again; returns them as rejections."""
        rejections = []
        for sku in skus:
            line = self._db.execute("DELETE FROM staged WHERE sku = ? RETURNING line", (sku,)).fetchone()[0]
            rejections.append(Rejection(line, f"sku {sku!a} {reason}"))
        return sorted(rejections)

    def after(self, line: int, count: int) -> tuple[int, list[CatalogRow]]:
        """The next `count` rows below that line, and the line of their last; no rows at the end."""
        staged = self._db.execute("SELECT * FROM staged WHERE line > ? ORDER BY line LIMIT ?", (line, count)).fetchall()
        rows = [CatalogRow(Sku(sku), *values) for _, sku, *values in staged]
        return (staged[-1][0] if staged else line), rows

    def close(self) -> None:
        """Close the file."""
        self._db.close()
