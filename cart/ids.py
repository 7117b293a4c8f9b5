"""Ids of carts and orders, and SKUs: how they are made, and which texts are valid."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable
from typing import Final

from cart.model import CartId, OrderId, Sku

PARTITIONS = 256
SKU_MAX_BYTES = 64
SKU_RULE = f"must be printable, at most {SKU_MAX_BYTES} bytes of UTF-8, without a backslash, and not a dot or two"

# White space and characters without width: spreadsheets and web pages leave them around text that is copied.
_BLANKS = (
    "".join(map(chr, range(0x09, 0x0E))) + "\x1c\x1d\x1e\x1f\x20\x85\xa0\xad\u1680\u180e"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c\u200d\u200e\u200f"
    "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u202f\u205f\u2060\u2061\u2062\u2063\u2064"
    "\u2066\u2067\u2068\u2069\u3000\ufeff"
)
_ID = re.compile(r"[0-9a-f]{2}[a-z2-7]{24}")
# Copied for each id: to look the algorithm up again takes as long as the hash.
_orders: Final = hashlib.sha256(b"order:")
_ID_RANDOM_BYTES = 15  # 120 bits, and exactly 24 characters of base32 with no padding


def new_cart_id(random_bytes: Callable[[int], bytes] = os.urandom) -> CartId:
    """A cart id that cannot be guessed: two hex digits of partition, then 120 random bits in base32."""
    drawn = random_bytes(1 + _ID_RANDOM_BYTES)
    return CartId(f"{drawn[0]:02x}{_base32(drawn[1:])}")


def new_own_cart_id(owner: str, random_bytes: Callable[[int], bytes] = os.urandom) -> CartId:
    """An id as of `new_cart_id`, in the partition of its owner, where the store notes which cart is theirs."""
    return CartId(f"{owner_digest(owner)[:2]}{_base32(random_bytes(_ID_RANDOM_BYTES))}")


def owner_digest(owner: str) -> str:
    """128 bits of a digest of a shopper's name, in hex; the first two digits are the partition of the shopper."""
    return hashlib.sha256(f"owner:{owner}".encode(errors="surrogatepass")).hexdigest()[:32]


def order_id_for(cart_id: CartId, version: int) -> OrderId:
    """The order id of this version of a cart, in the cart's partition.

    It is a function of both, so that a checkout tried again after a crash meets its own stock holds, and the checkout of a
    changed cart does not. It is as hard to guess as the cart id it is hashed from.
    """
    digest = _orders.copy()
    digest.update(f"{cart_id}:{version}".encode())
    return OrderId(partition_of(cart_id) + _base32(digest.digest()[:_ID_RANDOM_BYTES]))


def parse_cart_id(text: str) -> CartId | None:
    """The cart id that `text` spells, or None if it cannot be one."""
    return CartId(text) if _ID.fullmatch(text) else None


def parse_order_id(text: str) -> OrderId | None:
    """The order id that `text` spells, or None if it cannot be one."""
    return OrderId(text) if _ID.fullmatch(text) else None


def partition_of(an_id: CartId | OrderId) -> str:
    """The partition of a cart or order, two hex digits: the hash tag of all its keys."""
    return an_id[:2]


def parse_sku(text: str) -> Sku | None:
    """The SKU that `text` spells: without blanks around it, composed (Unicode's form NFC). None if it breaks `SKU_RULE`.

    Files, bodies, paths and searches are all read by this function, so that one product has one SKU however it is typed.
    """
    # Nearly all SKUs are plain ASCII, and as they are.
    if (
        text.isascii()
        and text.isprintable()
        and 0 < len(text) <= SKU_MAX_BYTES
        and text[0] not in " ."
        and text[-1] != " "
        and "\\" not in text
    ):
        return Sku(text)
    text = unicodedata.normalize("NFC", text.strip(_BLANKS))
    # Lone surrogates are not printable. A backslash and dots alone cannot stand in the path of a request: see `request_line`.
    if not text or not text.isprintable() or "\\" in text or text in {".", ".."}:
        return None
    return Sku(text) if len(text.encode()) <= SKU_MAX_BYTES else None


_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
# The two characters of every ten bits. `base64.b32encode` takes four times as long, and every checkout makes an id.
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]


def _base32(raw: bytes) -> str:
    """Base32 (RFC 4648) in small letters, of a multiple of five bytes."""
    pairs: list[str] = []
    for at in range(0, len(raw), 5):
        bits = int.from_bytes(raw[at : at + 5], "big")
        pairs += (_PAIRS[bits >> 30], _PAIRS[bits >> 20 & 1023], _PAIRS[bits >> 10 & 1023], _PAIRS[bits & 1023])
    return "".join(pairs)
