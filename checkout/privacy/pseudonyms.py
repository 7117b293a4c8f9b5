"""Keyed hashes of e-mail addresses and owners: orders are found by them, and they name nobody without the key."""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from typing import Final

# 128 bits, which are 32 hex digits.
DIGEST_BYTES: Final = 16


class Pseudonyms:
    """Keyed BLAKE2b (RFC 7693) under `key` (256 bits), in hex. It takes a quarter of the time of an HMAC.

    A plain hash of an address would be no secret: a list of addresses is hashed in seconds. Each use has a hash of its own,
    so that the hash of an address says nothing about an owner of the same text.
    """

    def __init__(self, key: bytes) -> None:
        # Keyed once, and copied for each text.
        self._emails = _hasher(key, b"e-mail")
        self._requests = _hasher(key, b"request")
        self._owners = _hasher(key, b"owner")
        # A shopper calls many times in a row, and a look-up costs a fifth of a hash.
        self.of_owner = functools.lru_cache(maxsize=4096)(self._of_owner)
        self.check = _hasher(key, b"check").hexdigest()
        """Tells whether two have the same key."""

    def digest(self, data: bytes) -> str:
        """The hash of an idempotency key, or of the request that it belongs to."""
        return _hash(self._requests, data)

    def of_email(self, email: str) -> str:
        """The hash of an e-mail address, the same for all spellings that differ in case, blanks around it or composition."""
        normal = unicodedata.normalize("NFC", email.strip().casefold())
        return _hash(self._emails, normal.encode(errors="surrogatepass"))

    def of_shopper(self, owner: str | None, email: str) -> tuple[str, ...]:
        """The names by which the orders of a shopper are known to be of one: of the owner, if there is one, and of the address."""
        hashed = self.of_email(email)
        return (hashed,) if owner is None else (self.of_owner(owner), hashed)

    def _of_owner(self, owner: str) -> str:
        """The hash of a signed-in shopper."""
        return _hash(self._owners, owner.encode(errors="surrogatepass"))


def _hasher(key: bytes, use: bytes) -> hashlib.blake2b:
    return hashlib.blake2b(key=key, person=use, digest_size=DIGEST_BYTES)


def _hash(hasher: hashlib.blake2b, data: bytes) -> str:
    keyed = hasher.copy()
    keyed.update(data)
    return keyed.hexdigest()
