"""A file in the data directory with the mark of the store's data, so that the next process knows it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

from store.generation import TAG

NAME: Final = "store-generation.json"


class Record(Struct, frozen=True):
    """The mark of the store's data, and the last loss with its time in seconds since 1970.

    `marks` are those of the other servers of a cluster, by tag.
    """

    mark: str | None = None
    loss: str | None = None
    lost_at: float = 0.0
    marks: dict[str, str] = {}

    @property
    def all_marks(self) -> Mapping[str, str]:
        """All marks by tag."""
        return self.marks if self.mark is None else {TAG: self.mark, **self.marks}

    def with_marks(self, marks: Mapping[str, str]) -> Record:
        """This record with these marks."""
        others = {tag: mark for tag, mark in marks.items() if tag != TAG}
        return msgspec.structs.replace(self, mark=marks.get(TAG), marks=others)


class _File(Struct, frozen=True):
    """The record of one store: another address is another store."""

    store: str
    record: Record


class KnownStore:
    """The record of the store at `url`. Without a directory, or where it cannot be read or written, nothing is remembered."""

    def __init__(self, data_dir: Path | None, url: str) -> None:
        self._path = None if data_dir is None else data_dir / NAME
        self._store = _without_credentials(url)

    def read(self) -> Record:
        """The record; an empty one if there is none."""
        if self._path is not None:
            with contextlib.suppress(OSError, msgspec.DecodeError):
                found = msgspec.json.decode(self._path.read_bytes(), type=_File)
                if found.store == self._store:
                    return found.record
        return Record()

    def write(self, record: Record) -> None:
        """Replace the record, whole."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(prefix=f".{NAME}.", dir=self._path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(msgspec.json.encode(_File(self._store, record)))
                Path(name).replace(self._path)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise


def _without_credentials(url: str) -> str:
    address = urlsplit(url)
    databases = parse_qs(address.query).get("db", [])
    return address._replace(netloc=address.netloc.rpartition("@")[2], query="".join(databases)).geturl()
