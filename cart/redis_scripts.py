"""The scripts of the Redis adapter: their arguments, and the meaning of their refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cart.errors import (
    CartClosed,
    CartFull,
    CartNotFound,
    ForeignCurrency,
    LineNotFound,
    QuantityLimit,
    VersionMismatch,
)
from cart.model import Cart, Line
from cart.ports import Write
from store import Script


def _text(name: str) -> str:
    return Script.from_package("cart", f"scripts/{name}.lua").text


def _script(*names: str) -> Script:
    return Script("\n".join(_text(name) for name in names))


CREATE = _script("create")
ADD_LINE = _script("write", "add_line")
SET_LINES = _script("write", "many", "set_lines")
REMOVE_LINE = _script("write", "remove_line")
DELETE = _script("write", "delete")
MERGE_BEGIN = _script("merge_begin")
MERGE_ABSORB = _script("write", "many", "merge_absorb")
MERGE_FINISH = _script("merge_finish")
MERGE_FENCE = _script("merge_fence")
MERGE_REOPEN = _script("merge_reopen")


def write_args(write: Write, cached: Cart | None = None) -> list[str | int]:
    """The arguments that `scripts/write.lua` takes; `cached` is the state of the cart that the process has cached."""
    limits = write.limits
    return [
        write.now,
        "" if write.if_match is None else write.if_match,
        "" if write.owner is None else write.owner,
        "" if cached is None else f"{cached.version} {cached.updated_at}",
        limits.max_lines,
        limits.max_quantity,
        limits.anonymous_ttl_ms,
        limits.owned_ttl_ms,
    ]


def line_args(lines: Sequence[Line]) -> list[str | int]:
    """Lines as `scripts/many.lua` takes them."""
    return [part for line in lines for part in (line.sku, line.quantity, line.quoted)]


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
        case _:
            return CartNotFound()
