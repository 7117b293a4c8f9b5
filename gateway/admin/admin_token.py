"""A bearer token of the admin API: read from a file, or generated at the first start."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from typing import Final

_log = logging.getLogger("peakgate")

MIN_LENGTH: Final = 16
_BYTES: Final = 32


class TokenUnusable(Exception):
    """The token file cannot be used, with the reason."""


def read_or_create(path: Path, *, role: str = "admin") -> str:
    """The token in the file; `role` is for messages. Without a file, writes a random one that only this user can read. Raises `TokenUnusable`."""
    try:
        token = _read(path, role)
        return _create(path, role) if token is None else token
    except OSError as error:
        raise TokenUnusable(f"cannot use the {role} token file {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise TokenUnusable(f"the {role} token file {path} is not text") from None


def _read(path: Path, role: str) -> str | None:
    try:
        with path.open(encoding="utf-8-sig") as file:
            token = file.read(4096).strip()
            mode = os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        return None
    if len(token) < MIN_LENGTH or not (token.isascii() and token.isprintable()) or " " in token:
        raise TokenUnusable(
            f"the {role} token file {path} must hold one word of {MIN_LENGTH} or more printable ASCII characters; "
            f"remove it to have one generated"
        )
    if mode & 0o077:
        # Accepted: orchestrators often mount secrets with such a mode.
        _log.warning("the %s token file %s can be read by others; chmod 600 keeps it private", role, path)
    return token


def _create(path: Path, role: str) -> str:
    token = secrets.token_urlsafe(_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(token + "\n")
        # Unlike a rename, a link never replaces a file that another process has just written.
        os.link(scratch, path)
    except FileExistsError:
        return _read(path, role) or token
    finally:
        scratch.unlink()
    return token
