"""JSON Schemas of responses for the OpenAPI document. A test checks real responses against these."""

from __future__ import annotations

from typing import Any, Final


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_TIME: Final = {"type": "string", "format": "date-time", "examples": ["2026-11-27T06:00:00.000Z"]}
_MONEY: Final = _ref("Money")
_CART_ID: Final = {"type": "string", "examples": ["7fmzxw6ylqnb2k3tgcvd5hsr4a"]}
_ORDER_STATUS: Final = {
    "enum": ["accepted", "stock_confirmed", "payment_authorised", "shipping_arranged", "completed", "cancelled"]
}
_CANCEL_REASON: Final = {"enum": ["out_of_stock", "payment_declined", "shipping_failed", "requested"]}

SCHEMAS: Final[dict[str, Any]] = {
    "Money": _object(
        {
            "amount": {"type": "integer", "description": "Minor units.", "examples": [255]},
            "currency": {"type": "string", "description": "ISO 4217.", "examples": ["GBP"]},
        }
    ),
    "CartLine": _object(
        {
            "sku": _TEXT,
            "name": _TEXT,
            "quantity": {"type": "integer", "minimum": 1},
            "unit_price": _MONEY,
            "total": _MONEY,
            "warnings": {
                "type": "array",
                "items": _object(
                    {"code": {"enum": ["price-changed", "product-unavailable"]}, "was": _MONEY}, optional=("was",)
                ),
            },
        },
        optional=("warnings",),
    ),
    "Cart": _object(
        {
            "id": _CART_ID,
            "version": {"type": "integer", "minimum": 1, "description": "Rises by one at each change."},
            "currency": _TEXT,
            "status": {"enum": ["open", "ordered", "merged"]},
            "lines": {"type": "array", "items": _ref("CartLine"), "description": "In the order of their first adding."},
            "item_count": _COUNT,
            "subtotal": _MONEY,
            "discounts": {"type": "array"},
            "total": _MONEY,
            "created_at": _TIME,
            "updated_at": _TIME,
            "expires_at": _TIME,
            "order_id": _TEXT,
        },
        optional=("order_id",),
    ),
    "Product": _object(
        {"sku": _TEXT, "name": _TEXT, "price": _MONEY, "in_stock": {"type": "boolean"}, "stock": _COUNT},
        optional=("stock",),
    ),
    "ProductPage": _object(
        {"products": {"type": "array", "items": _ref("Product")}, "next_cursor": {"type": ["string", "null"]}}
    ),
    "OrderLine": _object(
        {"sku": _TEXT, "name": _TEXT, "quantity": {"type": "integer"}, "unit_price": _MONEY, "total": _MONEY}
    ),
    "OrderEvent": _object({"status": _ORDER_STATUS, "at": _TIME, "detail": _TEXT}, optional=("detail",)),
    "Order": _object(
        {
            "id": _TEXT,
            "number": {"type": "string", "description": "Short, for people.", "examples": ["7KQ3M-XP4RT"]},
            "cart_id": _CART_ID,
            "status": _ORDER_STATUS,
            "reason": _CANCEL_REASON,
            "lines": {"type": "array", "items": _ref("OrderLine")},
            "subtotal": _MONEY,
            "discounts": {"type": "array"},
            "shipping": _MONEY,
            "total": _MONEY,
            "email": _TEXT,
            "created_at": _TIME,
            "updated_at": _TIME,
            "history": {"type": "array", "items": _ref("OrderEvent")},
        },
        optional=("reason",),
    ),
    "Health": {"type": "object", "properties": {"status": _TEXT}, "required": ["status"]},
    # RFC 9457; other members are the problem's own.
    "Problem": {
        "type": "object",
        "properties": {
            "type": {"type": "string", "examples": ["/problems/cart-not-found"]},
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "instance": {"type": "string", "description": "The request id."},
        },
        "required": ["type", "title", "status", "detail", "instance"],
    },
}
