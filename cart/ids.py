"""Ids of carts and orders, and SKUs: how they are made, and which texts are valid."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable

from cart.model import CartId, OrderId, Sku

PARTITIONS = 256
SKU_MAX_BYTES = 64

_ID = re.compile(r"[0-9a-f]{2}[a-z2-7]{24}")
_ID_RANDOM_BYTES = 15  # 120 bits, and exactly 24 characters of base32 with no padding


def new_cart_id(random_bytes: Callable[[int], bytes] = os.urandom) -> CartId:
    """A cart id that cannot be guessed: two hex digits of partition, then 120 random bits in base32."""
    drawn = random_bytes(1 + _ID_RANDOM_BYTES)
    return CartId(f"{drawn[0]:02x}{_base32(drawn[1:])}")


def order_id_for(cart_id: CartId, version: int) -> OrderId:
    """The order id of this version of a cart, in the cart's partition.

    It is a function of both, so that a checkout tried again after a crash meets its own stock holds, and the checkout of a
    changed cart does not. It is as hard to guess as the cart id it is hashed from.
    """
    digest = hashlib.sha256(f"order:{cart_id}:{version}".encode()).digest()
    return OrderId(partition_of(cart_id) + _base32(digest[:_ID_RANDOM_BYTES]))


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
    """The SKU that `text` spells, or None: printable (`str.isprintable`), not empty, at most 64 bytes of UTF-8."""
    if not text or not text.isprintable():  # lone surrogates are not printable
        return None
    return Sku(text) if len(text.encode()) <= SKU_MAX_BYTES else None


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().lower()
