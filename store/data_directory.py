"""The data directory: readable by its user alone, as are the files that Peakgate keeps there."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Final

_log = logging.getLogger("peakgate")

DIRECTORY_MODE: Final = 0o700
# The file-mode mask of programs that write there.
UMASK: Final = 0o077
LOCK: Final = "peakgate.lock"
LOG: Final = "valkey.log"
SOCKET: Final = "valkey.sock"
APPEND_ONLY: Final = "appendonlydir"
# The files and folders that Peakgate writes.
_OURS: Final = (
    LOCK,
    LOG,
    SOCKET,
    APPEND_ONLY,
    "temp-*.aof",
    "temp-*.rdb",
    "disk-trial",
    "search.sqlite3*",
    "admin-token",
    ".admin-token.*",
    "store-generation.json",
    ".store-generation.json.*",
)
# And others that a data directory may hold: those of an operator, a runtime directory, and the folder of a file system's root.
_EXPECTED: Final = (*_OURS, "metrics-token", "peakgate.toml", "peakgate-*", "lost+found")


def prepare_data_directory(path: Path) -> None:
    """Make the directory, or take it and Peakgate's files in it from other users. Raises `OSError`.

    A directory of another user, and one that other programs use too, such as `/tmp`, stays as it is: a warning says so.
    """
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from error
    if _is_open(path):
        if _is_ours(path) and all(_matches(each, _EXPECTED) for each in path.iterdir()):
            _restrict(path)
        else:
            _warn_once(path, _mode(path))
    for file in _files(path):
        # A server that runs deletes the files that it rewrites its own with.
        with contextlib.suppress(FileNotFoundError):
            if _is_open(file) and _is_ours(file):
                _restrict(file)


@cache
def _warn_once(path: Path, mode: int) -> None:
    """Once for a process and its children, which look again."""
    _log.warning(
        "other users can read the data directory %s (mode %03o), and it is not Peakgate's alone; "
        "chmod 700 it, or choose another --data-dir",
        path,
        mode,
    )


def _files(path: Path) -> Iterator[Path]:
    """Everything below the directory that Peakgate has written."""
    for each in path.iterdir():
        if not _matches(each, _OURS) or each.is_symlink():
            continue
        yield each
        if each.name == APPEND_ONLY and each.is_dir():
            yield from (file for file in each.iterdir() if not file.is_symlink())


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path.name, pattern) for pattern in patterns)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _is_open(path: Path) -> bool:
    """Whether the group or others have any right."""
    return bool(_mode(path) & UMASK)


def _is_ours(path: Path) -> bool:
    return path.stat().st_uid == os.geteuid()


def _restrict(path: Path) -> None:
    mode = _mode(path)
    path.chmod(mode & ~UMASK)
    _log.info("took the rights of other users from %s (its mode was %03o)", path, mode)
