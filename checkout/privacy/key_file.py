"""The key file: the wrapping keys of personal data, and the key of the index, in TOML.

index = "…"                  the key of the e-mail and owner index; never changes
current = "20261127-3f2a91"  the key that wraps new data keys
[keys]
20261127-3f2a91 = "…"        each has 256 bits, in base64
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

KEY_BYTES: Final = 32
_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_HEAD: Final = """\
# The keys of personal data of this shop's orders. With this file that data can be read; without it nobody can read it.
# Keep a copy where no copy of the data is. See docs/privacy.md; `peakgate privacy rotate` adds keys.
"""

_log = logging.getLogger("peakgate")


class KeyFileUnusable(Exception):
    """The key file cannot be used; the text says why."""


class KeyFile(msgspec.Struct, frozen=True):
    """The contents of a key file; `keys` by name, the oldest first."""

    index: bytes
    current: str
    keys: Mapping[str, bytes]

    def __repr__(self) -> str:  # without the keys, for logs
        return f"KeyFile(current={self.current!r}, keys={list(self.keys)})"

    def with_key(self, name: str, key: bytes, *, is_current: bool) -> KeyFile:
        """The same with one more key."""
        return KeyFile(self.index, name if is_current else self.current, {**self.keys, name: key})

    def with_current(self, name: str) -> KeyFile:
        """The same, but this of its keys wraps new data keys."""
        return KeyFile(self.index, name, self.keys)

    def to_toml(self) -> str:
        """The text of the file."""
        keys = "".join(f'{name} = "{_text(key)}"\n' for name, key in self.keys.items())
        return f'{_HEAD}index = "{_text(self.index)}"\ncurrent = "{self.current}"\n\n[keys]\n{keys}'


def new_key_file(day: str, random_bytes: Callable[[int], bytes] = os.urandom) -> KeyFile:
    """New keys; `day` (YYYYMMDD) begins the name of the first one."""
    name = new_name(day, random_bytes)
    return KeyFile(random_bytes(KEY_BYTES), name, {name: random_bytes(KEY_BYTES)})


def new_name(day: str, random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """The name of a new key."""
    return f"{day}-{random_bytes(3).hex()}"


def read_key_file(path: Path) -> KeyFile | None:
    """The keys in the file, None if there is no such file. Raises `KeyFileUnusable`."""
    try:
        with path.open("rb") as file:
            text = file.read().decode("utf-8-sig")
            mode = os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyFileUnusable(f"cannot read the key file {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise KeyFileUnusable(f"the key file {path} is no text in UTF-8") from None
    if mode & 0o077:
        # Accepted: orchestrators often mount secrets with such a mode.
        _log.warning("the key file %s can be read by others; chmod 600 keeps it private", path)
    return _parsed(text, path)


def create_key_file(path: Path, new: KeyFile) -> KeyFile:
    """Write `new` where there is no file yet; returns the keys in the file. Raises `KeyFileUnusable`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = _write_beside(path, new)
        try:
            # Unlike a rename, a link never replaces a file that another process has just written.
            os.link(scratch, path)
        except FileExistsError:
            return read_key_file(path) or new
        finally:
            scratch.unlink()
        _sync_directory(path.parent)
    except OSError as error:
        raise KeyFileUnusable(f"cannot write the key file {path}: {error.strerror}") from error
    return new


def replace_key_file(path: Path, changed: KeyFile) -> None:
    """Write `changed` in place of the file, at once and durably. Raises `KeyFileUnusable`."""
    try:
        _write_beside(path, changed).replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise KeyFileUnusable(f"cannot write the key file {path}: {error.strerror}") from error


def _write_beside(path: Path, keys: KeyFile) -> Path:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(keys.to_toml())
        file.flush()
        # A key that seals an order must not be lost in a crash that the order survives.
        os.fsync(file.fileno())
    return scratch


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _parsed(text: str, path: Path) -> KeyFile:
    try:
        content: Any = tomllib.loads(text)
        keys = {str(name): _key(value) for name, value in content["keys"].items()}
        index, current = _key(content["index"]), str(content["current"])
    except tomllib.TOMLDecodeError as error:
        raise KeyFileUnusable(f"the key file {path} is no TOML: {error}") from None
    except (KeyError, AttributeError, TypeError, ValueError):
        raise KeyFileUnusable(
            f"the key file {path} needs `index`, `current` and a table `keys`; each key has 32 bytes in base64"
        ) from None
    if not all(map(_NAME.fullmatch, keys)):
        raise KeyFileUnusable(f"the key file {path} has a key whose name is not letters, digits, - and _")
    if current not in keys:
        raise KeyFileUnusable(f"the key file {path} has no key {current!r}, which it names as the current one")
    return KeyFile(index, current, keys)


def _key(text: object) -> bytes:
    try:
        key = base64.b64decode(str(text), validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
    if len(key) != KEY_BYTES:
        raise ValueError("wrong length")
    return key


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()
