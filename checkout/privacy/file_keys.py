"""Wrapping keys in a key file."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from checkout.ports.keys import DataKey, KeysRefused, KeysUnavailable
from checkout.privacy.key_file import KEY_BYTES, KeyFile, KeyFileUnusable, read_key_file

KIND: Final = "file"
_NONCE_BYTES: Final = 12


class FileKeys:
    """`WrappingKeys` of a key file, with AES-256-GCM under random nonces.

    A data key is for up to a million orders, so a wrapping key wraps far fewer than the 2^32 that are safe.
    """

    def __init__(self, path: Path, keys: KeyFile, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._path = path
        self._keys = keys
        self._random_bytes = random_bytes
        self._stamp = _stamp(path)

    @property
    def current(self) -> str:
        """See `WrappingKeys.current`."""
        return f"{KIND}.{self._keys.current}"

    @property
    def names(self) -> list[str]:
        """The names of all keys."""
        return [f"{KIND}.{name}" for name in self._keys.keys]

    def reread(self) -> bool:
        """Read the file again if it has changed; True if it was read. Raises `KeyFileUnusable`; the keys are then as before."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return False
        keys = read_key_file(self._path)
        if keys is None:
            raise KeyFileUnusable(f"the key file {self._path} is gone; the keys that were read are used further")
        self._keys, self._stamp = keys, stamp
        return True

    async def new_data_key(self) -> DataKey:
        """See `WrappingKeys.new_data_key`."""
        secret, nonce = self._random_bytes(KEY_BYTES), self._random_bytes(_NONCE_BYTES)
        name = self._keys.current
        wrapped = nonce + AESGCM(self._keys.keys[name]).encrypt(nonce, secret, _bound_to(name))
        return DataKey(secret, f"{KIND}.{name}.{base64.urlsafe_b64encode(wrapped).decode()}")

    async def unwrap(self, wrapped: str) -> bytes:
        """See `WrappingKeys.unwrap`."""
        kind, _, rest = wrapped.partition(".")
        name, _, text = rest.partition(".")
        if kind != KIND:
            raise KeysRefused(f"a data key is wrapped by {kind}.{name}, which is no key of a key file")
        key = self._key(name)
        try:
            raw = base64.urlsafe_b64decode(text)
            return AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound_to(name))
        except (InvalidTag, binascii.Error, ValueError):
            raise KeysRefused(f"the key {name} in {self._path} is not the one that wrapped a data key") from None

    def _key(self, name: str) -> bytes:
        key = self._keys.keys.get(name)
        if key is None:
            # Another process may have added it.
            try:
                self.reread()
            except KeyFileUnusable as error:
                raise KeysUnavailable(str(error)) from error
            key = self._keys.keys.get(name)
        if key is None:
            raise KeysRefused(f"the key file {self._path} has no key {name}, which personal data is sealed with")
        return key


def _bound_to(name: str) -> bytes:
    return b"data key:" + name.encode()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
