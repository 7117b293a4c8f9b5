"""The scripts of the Redis adapter: their arguments, and the meaning of their refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cart.errors import (
    CartClosed,
    CartFull,
    CartNotFound,
    ForeignCurrency,
    IdempotencyKeyReused,
    LineNotFound,
    QuantityLimit,
    VersionMismatch,
)
from cart.model import Cart, CartId
from cart.ports import Write
from cart.stored import cart_key, keys_key
from store import Script

_encode = msgspec.msgpack.Encoder().encode


def _script(*names: str) -> Script:
    return Script.from_files(*(("cart", f"scripts/{name}.lua") for name in names))


CREATE = _script("create")
CREATE_OWN = _script("create_own")
ADD_LINE = _script("write", "add_line")
SET_LINES = _script("write", "many", "set_lines")
REMOVE_LINE = _script("write", "remove_line")
DELETE = _script("write", "delete")
MERGE_CHECK = _script("write", "merge_check")
MERGE_BEGIN = _script("merge_begin")
MERGE_ABSORB = _script("write", "many", "merge_absorb")
MERGE_FINISH = _script("merge_finish")
MERGE_FENCE = _script("merge_fence")
MERGE_REOPEN = _script("merge_reopen")


def write_keys(cart_id: CartId, write: Write, *more: str) -> list[str]:
    """The keys of a script of `scripts/write.lua`."""
    if write.key is None:
        return [cart_key(cart_id), *more]
    return [cart_key(cart_id), *more, keys_key(cart_id)]


def write_args(write: Write, cached: Cart | None = None, args: tuple[object, ...] = ()) -> bytes:
    """The one argument of `scripts/write.lua`, in MessagePack: each argument of a command has a cost of its own.

    `cached` is the state of the cart that the process has cached, `args` are those of the script itself.
    """
    state = None if cached is None else (cached.version, cached.updated_at)
    return _encode((write, state, *args))


def refusal_of(reply: Sequence[Any], write: Write) -> Exception:
    """The refusal that a script replied."""
    match reply:
        case [b"closed", order_id, *_]:
            return CartClosed(order_id.decode() or None)
        case [b"version", current]:
            return VersionMismatch(current)
        case [b"currency", currency]:
            return ForeignCurrency(currency.decode())
        case [b"full"]:
            return CartFull(write.limits.max_lines)
        case [b"quantity"]:
            return QuantityLimit(write.limits.max_quantity)
        case [b"no-line", sku]:
            return LineNotFound(sku.decode())
        case [b"reused"]:
            return IdempotencyKeyReused()
        case _:
            return CartNotFound()
