"""Idempotency keys: which are valid, and the digests by which a cart knows them."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any, Final

import msgspec

from cart.errors import IdempotencyKeyMissing
from cart.ports import DIGEST_CHARS, Write

_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")


def is_valid_key(key: str) -> bool:
    """Whether an idempotency key is 1 to 255 characters of printable ASCII."""
    return _KEY.fullmatch(key) is not None


def validated_key(key: str | None) -> str:
    """The idempotency key of a request. Raises `IdempotencyKeyMissing`."""
    if not key:
        raise IdempotencyKeyMissing("Send an Idempotency-Key header, and the same one when you retry this request.")
    if len(key) > 255:
        raise IdempotencyKeyMissing(f"The Idempotency-Key has {len(key)} characters; at most 255 are accepted.")
    if not is_valid_key(key):
        raise IdempotencyKeyMissing("The Idempotency-Key must be printable ASCII.")
    return key


def keyed(write: Write, key: str, *what: Any) -> Write:
    """The write with its idempotency key; `what` it does, with the shopper, must be the same whenever it is repeated.

    The conditions of the write do not belong to it: the first attempt may have changed the version. Raises
    `IdempotencyKeyMissing` for an invalid key.
    """
    digests = _digest(validated_key(key).encode()) + _digest(msgspec.msgpack.encode((write.owner, what)))
    return msgspec.structs.replace(write, key=digests)


def _digest(data: bytes) -> str:
    """120 bits in base64. The text of a key is not stored, because it may be personal data."""
    return base64.b64encode(hashlib.blake2b(data, digest_size=DIGEST_CHARS * 6 // 8).digest()).decode()
