"""The audit log: every act of an operator, with its author and time, and the settings before and after it.

JSON lines in a file of the data directory that only this user can read, synchronised to the disk line by line. It
survives restarts, and takes a bounded size: a full file is renamed, and the oldest is dropped.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from checkout.cards.masking import mask

_log = logging.getLogger("peakgate")

MAX_FILE_BYTES: Final = 256 * 1024
# The full files beside the one that is written.
FULL_FILES: Final = 3
# Longer texts of arguments are cut.
MAX_CHARACTERS: Final = 300
_EMAIL: Final = re.compile(r"[^\s@<>\"'(),:;/?&=]+@[^\s@<>\"'(),:;/?&=]+")


class Act(Struct, frozen=True, omit_defaults=True):
    """One act. `at` and `expires_at` are Unix seconds; `status` is that of the HTTP response.

    `kind` and `name` are of the setting, `before` and `after` its values: null where there is none.
    """

    id: int
    at: float
    who: str
    act: str
    status: int = 200
    address: str | None = None
    arguments: dict[str, Any] = {}
    result: dict[str, Any] = {}
    kind: str | None = None
    name: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    expires_at: float | None = None
    undoes: int | None = None


class AuditLog:
    """The acts in the file and in the full ones before it; without a path they are in memory alone.

    Each process that writes has a log of its own; the control process is the only one.
    """

    def __init__(
        self, path: Path | None, *, max_file_bytes: int = MAX_FILE_BYTES, full_files: int = FULL_FILES
    ) -> None:
        self._path = path
        self._max_file_bytes = max_file_bytes
        self._full_files = full_files
        # The oldest first, by file: the last list is that of the file that is written.
        self._files: list[list[Act]] = [_read(each) for each in self._paths()] or [[]]
        self._size = path.stat().st_size if path is not None and path.exists() else 0

    def append(self, **members: Any) -> Act:
        """Write an act with the next id. Card numbers and e-mail addresses in it are masked.

        An act that cannot be written is done all the same, because a full disk must not disarm operators: it is logged.
        """
        act = msgspec.convert(masked({"id": self._last_id() + 1, **members}), Act)
        line = msgspec.json.encode(act) + b"\n"
        if self._size and self._size + len(line) > self._max_file_bytes:
            self._rotate()
        self._files[-1].append(act)
        self._size += len(line)
        if self._path is not None:
            try:
                _append(self._path, line)
            except OSError as error:
                _log.error("cannot write act %d to the audit log %s: %s", act.id, self._path, error.strerror)
        return act

    def find(self, act_id: int) -> Act | None:
        """The act with this id, None if it is unknown or has been dropped."""
        return next((act for act in self._newest_first() if act.id == act_id), None)

    def page(self, *, limit: int, before: int | None = None) -> Sequence[Act]:
        """Up to `limit` acts with ids below `before`, the latest first."""
        return [act for act in self._newest_first() if before is None or act.id < before][:limit]

    @property
    def acts(self) -> Sequence[Act]:
        """All acts that are kept, the oldest first."""
        return [act for file in self._files for act in file]

    @property
    def undone(self) -> Mapping[int, int]:
        """The acts that were undone, with the acts that did so."""
        return {act.undoes: act.id for act in self.acts if act.undoes is not None and act.status < 400}

    def _newest_first(self) -> Sequence[Act]:
        return self.acts[::-1]

    def _last_id(self) -> int:
        return max((file[-1].id for file in self._files if file), default=0)

    def _paths(self) -> Sequence[Path]:
        """The files that there are, the oldest first; the last is the one that is written."""
        if self._path is None:
            return []
        full = [self._full_path(self._path, number) for number in range(self._full_files, 0, -1)]
        return [*(path for path in full if path.exists()), self._path]

    @staticmethod
    def _full_path(path: Path, number: int) -> Path:
        return path.with_name(f"{path.name}.{number}")

    def _rotate(self) -> None:
        self._files = [*self._files[-self._full_files :], []]
        self._size = 0
        if self._path is None:
            return
        try:
            for number in range(self._full_files, 1, -1):
                newer = self._full_path(self._path, number - 1)
                if newer.exists():
                    newer.replace(self._full_path(self._path, number))
            self._path.replace(self._full_path(self._path, 1))
        except OSError as error:
            _log.error("cannot rename the full audit log %s: %s", self._path, error.strerror)


def _read(path: Path) -> list[Act]:
    """The acts of a file; a line that a crash cut off is passed over."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    acts = []
    for line in lines:
        try:
            acts.append(msgspec.json.decode(line, type=Act))
        except msgspec.DecodeError:
            _log.warning("a line of the audit log %s cannot be read, and is passed over", path)
    return acts


def _append(path: Path, line: bytes) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(fd, "r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        # After a line that a crash cut off.
        is_cut_off = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        file.write(b"\n" + line if is_cut_off else line)
        os.fsync(fd)


def masked(value: Any) -> Any:
    """The value without card numbers and e-mail addresses, and with long texts cut; `who` did it is left as it is."""
    if isinstance(value, str):
        return _EMAIL.sub("[e-mail address]", mask(value[:MAX_CHARACTERS]))
    if isinstance(value, Mapping):
        return {name: each if name == "who" else masked(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked(each) for each in value]
    return value
