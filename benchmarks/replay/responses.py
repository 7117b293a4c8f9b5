"""The members of the public API's responses that shoppers read. Decoding checks their types."""

import msgspec


class Money(msgspec.Struct, frozen=True):
    """Minor units of a currency."""

    amount: int
    currency: str


class Line(msgspec.Struct, frozen=True):
    """A line of a cart or an order."""

    sku: str
    quantity: int


class Cart(msgspec.Struct, frozen=True):
    """A cart; `order_id` is there once it is ordered."""

    id: str
    version: int
    lines: list[Line]
    total: Money
    order_id: str | None = None

    def quantities(self) -> dict[str, int]:
        """Quantity by SKU."""
        return {line.sku: line.quantity for line in self.lines}


class Order(msgspec.Struct, frozen=True):
    """An order; `reason` is there once it is cancelled."""

    id: str
    status: str
    lines: list[Line]
    total: Money
    reason: str | None = None

    def quantities(self) -> dict[str, int]:
        """Quantity by SKU."""
        return {line.sku: line.quantity for line in self.lines}


class Product(msgspec.Struct, frozen=True):
    """A product; a shop may hide the count of its stock."""

    sku: str
    price: Money
    stock: int | None = None


class ProductPage(msgspec.Struct, frozen=True):
    """One page of products; no cursor on the last."""

    products: list[Product]
    next_cursor: str | None
