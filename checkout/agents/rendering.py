"""Renders a session from its record, its cart and its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from cart.responses import Cart as CartBody
from cart.responses import CartLine, CartLineWarning
from cart.timestamps import rfc3339
from cart.view import CartView
from checkout.agents.responses import (
    Adjustment,
    FulfillmentOption,
    ItemView,
    LineItemView,
    Message,
    OrderLineItem,
    OrderView,
    Quantity,
    SelectedOptionView,
    SessionView,
    Total,
)
from checkout.agents.session import Session
from checkout.amounts import Amounts
from checkout.errors import CartEmpty, OutOfStock, ShippingNotOffered
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.priced_cart import PricedCart
from checkout.pricing import Pricing
from checkout.tariff.shipping_methods import ShippingOption
from checkout.tariff.tariff import TariffInForce

_decode_cart: Final = msgspec.json.Decoder(CartBody).decode
# The order statuses of the protocol.
_ORDER_STATUS: Final[Mapping[OrderStatus, str]] = {
    OrderStatus.ACCEPTED: "created",
    OrderStatus.STOCK_CONFIRMED: "processing",
    OrderStatus.PAYMENT_AUTHORISED: "processing",
    OrderStatus.SHIPPING_ARRANGED: "processing",
    OrderStatus.COMPLETED: "confirmed",
    OrderStatus.SHIPPED: "shipped",
    OrderStatus.DELIVERED: "completed",
    OrderStatus.RETURNED: "completed",
    OrderStatus.CANCELLED: "canceled",
}
_OPTIONAL: Final = frozenset({"items_discount", "discount", "tax"})
_NOT_OFFERED: Final = Message(
    "error", "invalid", "This option is not offered for these items and this address.", "$.selected_fulfillment_options"
)
_IS_FULFILLED: Final = frozenset({OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.RETURNED})


class SessionRenderer:
    """Renders the sessions of a shop with this pricing and tariff.

    `order_url` is the address of an order for people, with `{order_id}` in it.
    """

    def __init__(
        self, pricing: Pricing, tariff: TariffInForce, *, order_url: str, capabilities: dict[str, Any]
    ) -> None:
        self._pricing = pricing
        self._tariff = tariff
        self._order_url = order_url
        self._capabilities = capabilities

    def option_of(self, session: Session) -> str:
        """The shipping method of a session."""
        return session.option_id or self._tariff.now.default

    def is_option(self, option_id: str) -> bool:
        """Whether the shop has this shipping method."""
        return option_id in self._tariff.now.methods

    async def quote(self, session: Session, view: CartView) -> PricedCart | None:
        """What the session would cost, before an address is known without taxes; None while it has no price."""
        address = None if session.details is None else session.details.address
        country = "" if address is None else address.country.upper()
        try:
            return await self._pricing.price(view.cart, method=self.option_of(session), country=country, is_quote=True)
        except (CartEmpty, OutOfStock, ShippingNotOffered):
            return None

    def open_session(
        self, session: Session, view: CartView, priced: PricedCart | None, unknown: Sequence[Message] = ()
    ) -> SessionView:
        """A session that can be changed and completed; `unknown` are messages about items that the shop does not have."""
        cart = _decode_cart(view.to_json())
        messages = [*unknown, *_messages(session, cart)]
        if priced is None and cart.lines and not any(message.type == "error" for message in messages):
            messages.append(_NOT_OFFERED)
        is_ready = bool(cart.lines) and not any(message.type == "error" for message in messages)
        return self._session(
            session,
            status="ready_for_payment" if is_ready else "not_ready_for_payment",
            line_items=[_line_item(line) for line in cart.lines],
            option_id=self.option_of(session),
            options=() if priced is None else priced.options,
            totals=_goods_totals(cart.subtotal.amount) if priced is None else _totals(priced.amounts),
            messages=messages,
        )

    def completed_session(self, session: Session, order: Order) -> SessionView:
        """A session that became this order."""
        return self._session(
            session,
            status="completed",
            line_items=[
                _line(line.sku, line.name, line.quantity, line.unit_price, is_short=False) for line in order.lines
            ],
            option_id=order.shipping_method,
            options=(ShippingOption(order.shipping_method, order.shipping_method, order.shipping),),
            totals=_totals(order.amounts),
            messages=[],
            order=self._order(session, order),
        )

    def canceled_session(self, session: Session) -> SessionView:
        """A session whose cart is deleted."""
        return self._session(
            session,
            status="canceled",
            line_items=[],
            option_id=self.option_of(session),
            options=(),
            totals=[],
            messages=[],
        )

    def _session(
        self,
        session: Session,
        *,
        option_id: str,
        options: Sequence[ShippingOption],
        line_items: list[LineItemView],
        **members: Any,
    ) -> SessionView:
        return SessionView(
            id=session.id,
            currency=session.currency.lower(),
            buyer=session.buyer or UNSET,
            fulfillment_details=session.details or UNSET,
            fulfillment_options=[
                FulfillmentOption(option.name, option.title, _option_totals(option.price)) for option in options
            ],
            line_items=line_items,
            selected_fulfillment_options=[SelectedOptionView(option_id, [item.id for item in line_items])],
            capabilities=self._capabilities,
            created_at=rfc3339(session.created_at),
            updated_at=rfc3339(session.updated_at),
            expires_at=rfc3339(session.expires_at),
            **members,
        )

    def _order(self, session: Session, order: Order) -> OrderView:
        refunds = [
            Adjustment(f"{order.id}-{number}", rfc3339(entry.at), entry.refunded, order.currency.lower())
            for number, entry in enumerate(order.history, start=1)
            if entry.refunded
        ]
        totals = _totals(order.amounts)
        if refunds:
            totals.append(Total("amount_refunded", "Refunded", order.refunded))
        return OrderView(
            id=order.id,
            checkout_session_id=session.id,
            order_number=order.number,
            permalink_url=self._order_url.replace("{order_id}", order.id),
            status=_ORDER_STATUS[order.status],
            line_items=[_order_line(order, index) for index in range(len(order.lines))],
            adjustments=refunds,
            totals=totals,
        )


def _messages(session: Session, cart: CartBody) -> list[Message]:
    messages = []
    for index, line in enumerate(cart.lines):
        for warning in line.warnings or ():
            at = f"$.line_items[{index}]"
            if warning.code == "insufficient-stock":
                messages.append(Message("error", "out_of_stock", f"{line.name}: not enough in stock.", at))
            elif warning.code == "per-shopper-limit":
                at_most = f"{line.name}: at most {warning.limit} for one shopper."
                messages.append(Message("error", "quantity_exceeded", at_most, at))
            elif warning.code in {"backorder", "preorder"}:
                messages.append(Message("warning", "out_of_stock", f"{line.name}: {_coming(warning)}.", at))
            elif warning.code == "product-unavailable":
                messages.append(Message("error", "not_found", f"{line.name} is no longer sold.", at))
            else:
                messages.append(Message("warning", "price_change", f"The price of {line.name} has changed.", at))
    if session.details is None or session.details.address is None:
        messages.append(
            Message("error", "missing", "The shipping address is missing.", "$.fulfillment_details.address")
        )
    return messages


def _coming(warning: CartLineWarning) -> str:
    on = "" if warning.available_on is UNSET else f", about {warning.available_on}"
    return f"can be ordered, and comes later{on}"


def _line_item(line: CartLine) -> LineItemView:
    codes = {warning.code: warning for warning in line.warnings or ()}
    short = codes.get("insufficient-stock")
    available = UNSET if short is None else short.available
    is_short = short is not None or "product-unavailable" in codes
    return _line(line.sku, line.name, line.quantity, line.unit_price.amount, is_short=is_short, available=available)


def _line(sku: str, name: str, quantity: int, price: int, *, is_short: bool, available: Any = UNSET) -> LineItemView:
    amount = quantity * price
    return LineItemView(
        id=sku,
        item=ItemView(sku, name, price),
        quantity=quantity,
        name=name,
        sku=sku,
        unit_amount=price,
        availability_status="out_of_stock" if is_short else "in_stock",
        available_quantity=available,
        totals=[
            Total("items_base_amount", "Price", amount),
            Total("subtotal", "Subtotal", amount),
            Total("total", "Total", amount),
        ],
    )


def _order_line(order: Order, index: int) -> OrderLineItem:
    line = order.lines[index]
    current = 0 if order.status is OrderStatus.CANCELLED else line.quantity
    fulfilled = line.quantity if order.status in _IS_FULFILLED else 0
    return OrderLineItem(
        id=line.sku,
        title=line.name,
        quantity=Quantity(line.quantity, current, fulfilled),
        unit_price=line.unit_price,
        subtotal=line.total,
        status="removed" if not current else "fulfilled" if fulfilled else "processing",
    )


def _goods_totals(subtotal: int) -> list[Total]:
    """While nothing else is known."""
    return [
        Total("items_base_amount", "Items", subtotal),
        Total("subtotal", "Subtotal", subtotal),
        Total("total", "Total", subtotal),
    ]


def _totals(amounts: Amounts) -> list[Total]:
    totals = [
        Total("items_base_amount", "Items", amounts.subtotal),
        Total("items_discount", "Discount on items", amounts.off_goods),
        Total("subtotal", "Subtotal", amounts.goods),
        Total("discount", "Discount on shipping", amounts.off_shipping),
        Total("fulfillment", "Shipping", amounts.shipping),
        Total("tax", "Tax", amounts.tax if amounts.is_tax_added else 0),
        Total("total", "Total", amounts.total),
    ]
    # Those that are never left out, and the others where there is something to tell.
    return [total for total in totals if total.amount or total.type not in _OPTIONAL]


def _option_totals(price: int) -> list[Total]:
    return [Total("fulfillment", "Shipping", price), Total("total", "Total", price)]
