"""The format of a cart in Redis: one hash under `{partition}c:<cart id>`.

Lines are fields named by their SKU, with the value `packed quoted`: `packed` is the position of the line in the order of first adding,
shifted left by 20 bits, plus its quantity; `quoted` is the unit price in minor units that the shopper saw. SKUs are printable,
so these fields, which begin with U+0001, are no SKUs:

    v version   c currency   t created_at   u updated_at   q next position  a last merge attempt   (every cart)
    w owner, by a hash   s status, absent while open   o order id   m the cart it merges into                (some carts)

A release may add members and removes none: one that does not know a member ignores it, and one whose member is missing has
what it was before. The form of a line does not change.

Every change of a cart makes `v` rise by one. Five lines take some 280 bytes in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec

from cart.ids import owner_digest, partition_of
from cart.model import QUANTITY_BITS, Cart, CartId, Line, OrderId, Sku, Status

_QUANTITY_MASK = (1 << QUANTITY_BITS) - 1
_numbers = msgspec.json.Decoder(list[int]).decode


def cart_key(cart_id: CartId) -> str:
    """The key of a cart's hash."""
    return f"{{{partition_of(cart_id)}}}c:{cart_id}"


def marker_key(target: CartId, source: CartId) -> str:
    """The key of the marker that a merge of `source` leaves beside `target`: whether it was absorbed, or never will be."""
    return f"{{{partition_of(target)}}}m:{target}:{source}"


def own_cart_key(owner: str) -> str:
    """The key of the id of a shopper's own cart."""
    digest = owner_digest(owner)
    return f"{{{digest[:2]}}}w:{digest}"


def keys_key(cart_id: CartId) -> str:
    """The key of the record of a cart's idempotency keys: see `scripts/write.lua`."""
    return f"{{{partition_of(cart_id)}}}k:{cart_id}"


def new_cart_fields(cart: Cart) -> list[str | int]:
    """The fields of a new, empty cart and their values, alternating."""
    fields: list[str | int] = [
        "\1v",
        cart.version,
        "\1c",
        cart.currency,
        "\1t",
        cart.created_at,
        "\1u",
        cart.updated_at,
    ]
    fields += ["\1q", 0, "\1a", 0]
    return fields if cart.owner is None else [*fields, "\1w", cart.owner]


def hash_of(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """The fields of a hash that a script returned as HGETALL does inside scripts: name and value alternating."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


STATE_FIELDS = ("\1v", "\1u", "\1s")


def is_state_of(cart: Cart, state: Sequence[bytes | None]) -> bool:
    """Whether the stored cart, by the values of `STATE_FIELDS`, is open and the same as this one."""
    version, updated_at, status = state
    return (
        version is not None
        and updated_at is not None
        and int(version) == cart.version
        and int(updated_at) == cart.updated_at
        and status is None
    )


def cart_from_hash(cart_id: CartId, fields: dict[bytes, bytes]) -> Cart | None:
    """The cart of these fields of its hash, None if there are none. Empties `fields`."""
    if not fields:
        return None
    take = fields.pop
    del fields[b"\1q"], fields[b"\1a"]
    status = take(b"\1s", None)
    owner = take(b"\1w", None)
    order_id = take(b"\1o", None)
    target = take(b"\1m", None)
    return Cart(
        id=cart_id,
        currency=take(b"\1c").decode(),
        created_at=int(take(b"\1t")),
        updated_at=int(take(b"\1u")),
        version=int(take(b"\1v")),
        status="open" if status is None else cast("Status", status.decode()),
        owner=None if owner is None else owner.decode(),
        order_id=None if order_id is None else OrderId(order_id.decode()),
        merged_into=None if target is None else CartId(target.decode()),
        lines=_lines(fields),
    )


def _lines(fields: dict[bytes, bytes]) -> tuple[Line, ...]:
    names = b"\n".join(fields)
    if b"\1" in names:
        # Members that a later release has added; scripts leave them in the hash.
        fields = {name: value for name, value in fields.items() if not name.startswith(b"\1")}
        names = b"\n".join(fields)
    # All names are decoded at once and all numbers at once: 0.3 µs a line, against 0.5 one by one.
    skus = cast("list[Sku]", names.decode().split("\n"))
    numbers = _numbers(b"[%b]" % b",".join(fields.values()).replace(b" ", b","))
    rows = sorted(zip(numbers[::2], skus, numbers[1::2], strict=False))
    return tuple([Line(sku, packed & _QUANTITY_MASK, quoted) for packed, sku, quoted in rows])
