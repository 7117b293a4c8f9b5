"""The keys of a SKU in Redis, all in one hash slot: the SKU is their hash tag.

A tag ends at the first closing brace, and an empty tag is none. So a SKU that begins with that brace has U+0001 in its place,
which is in no SKU, because SKUs are printable.
"""

from __future__ import annotations

from cart.model import CartId, Sku


def product_key(sku: Sku) -> str:
    """The key of a product's hash; its field `stock` is the available quantity."""
    return f"{{{sku}}}p" if not sku.startswith("}") else f"{{\1{sku[1:]}}}p"


def restocked_key(sku: Sku) -> str:
    """The key of the orders whose units of a SKU were returned and put back into stock."""
    return f"{{{sku}}}r" if not sku.startswith("}") else f"{{\1{sku[1:]}}}r"


def purchases_key(sku: Sku) -> str:
    """The key of the units of a SKU that each shopper has ordered of late, where that is limited."""
    return f"{{{sku}}}b" if not sku.startswith("}") else f"{{\1{sku[1:]}}}b"


def cart_holds_key(sku: Sku) -> str:
    """The key of the carts that hold units of a SKU, by the time at which that ends."""
    return f"{{{sku}}}x" if not sku.startswith("}") else f"{{\1{sku[1:]}}}x"


def cart_hold_name(cart_id: CartId) -> str:
    """The name of a cart among the holds of a SKU, where the others are ids of orders."""
    return f"cart:{cart_id}"


def is_cart_hold(name: str) -> bool:
    """Whether the name among the holds of a SKU is that of a cart."""
    return name.startswith("cart:")


def holds_key(sku: Sku) -> str:
    """The key of the holds of a SKU, by order id."""
    return f"{{{sku}}}h" if not sku.startswith("}") else f"{{\1{sku[1:]}}}h"


def hold_changes_key(sku: Sku) -> str:
    """The key of the changes of the holds of a SKU, which is there while an audit adds them up."""
    return f"{{{sku}}}c" if not sku.startswith("}") else f"{{\1{sku[1:]}}}c"
