"""The bearer token of the admin API: read from a file, or made at the first start."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from typing import Final

_log = logging.getLogger("peakgate")

SHORTEST: Final = 16
_BYTES: Final = 32


class TokenUnusable(Exception):
    """The file cannot be used; the text says why."""


def read_or_make(path: Path) -> str:
    """The token in the file; a random one is put there, for this user's eyes alone, if there is none. Raises `TokenUnusable`."""
    try:
        token = _read(path)
        return _made(path) if token is None else token
    except OSError as error:
        raise TokenUnusable(f"cannot use the admin token file {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise TokenUnusable(f"the admin token file {path} is not text") from None


def _read(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8") as file:
            token = file.read(4096).strip()
            mode = os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        return None
    if len(token) < SHORTEST or not (token.isascii() and token.isprintable()) or " " in token:
        raise TokenUnusable(
            f"the admin token file {path} must hold one word of {SHORTEST} or more printable ASCII characters; "
            f"remove it to have one made"
        )
    if mode & 0o077:
        # Not refused: what an orchestrator mounts as a secret often is like this.
        _log.warning("the admin token file %s can be read by others; chmod 600 keeps it private", path)
    return token


def _made(path: Path) -> str:
    token = secrets.token_urlsafe(_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(token + "\n")
        # Unlike a rename it never takes the place of one that somebody else has just made.
        os.link(scratch, path)
    except FileExistsError:
        return _read(path) or token
    finally:
        scratch.unlink()
    return token
