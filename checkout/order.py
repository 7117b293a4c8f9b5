"""Orders: their lines, history and transitions, and their JSON.

Times are integers, Unix milliseconds UTC; amounts are integers, minor units of the order's currency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from cart.coupons import MARK
from cart.model import CartId, Money, OrderId, Sku
from cart.timestamps import rfc3339
from checkout import responses
from checkout.amount_responses import discount_response, line_response, tax_response
from checkout.amounts import Amounts, Discount, OrderLine, ShippingTax, amounts_of
from checkout.errors import SoldAhead
from checkout.facts import Fact
from checkout.order_number import order_number
from checkout.order_status import CancelReason, OrderStatus, may_move
from checkout.payments.payment import Payment
from checkout.ports.stock import StockLine, Wanted
from checkout.shipping.shipment import Shipment


class HistoryEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """The order became `status` at `at`, or so much was `refunded` in it; `detail` is text for people."""

    status: OrderStatus
    at: int
    detail: str | None = None
    refunded: int | None = None

    def to_response(self, currency: str) -> responses.OrderEvent:
        """The entry as the API sends it, of an order in this currency."""
        return responses.OrderEvent(
            self.status,
            rfc3339(self.at),
            msgspec.UNSET if self.detail is None else self.detail,
            msgspec.UNSET if self.refunded is None else Money(self.refunded, currency),
        )


class Address(msgspec.Struct, frozen=True, omit_defaults=True):
    """The shipping address; `country` is ISO 3166-1 alpha-2 in capitals."""

    name: str
    line1: str
    city: str
    postcode: str
    country: str
    line2: str | None = None

    def to_response(self) -> responses.ShippingAddress:
        """The address as the API sends it to the owner of an order."""
        return responses.ShippingAddress(
            name=self.name,
            line1=self.line1,
            line2=msgspec.UNSET if self.line2 is None else self.line2,
            city=self.city,
            postcode=self.postcode,
            country=self.country,
        )


# Where there is none: an order whose personal data is sealed or erased.
NO_ADDRESS: Final = Address(name="", line1="", city="", postcode="", country="")


class LineReturn(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many units of a SKU came back, and how many of these are in stock again."""

    sku: Sku
    returned: int
    restocked: int = 0


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order. The members that change are those of `checkout.order_state.OrderState`, and `facts`, which come and go.

    The history is the log of the order's events: event `n` is its `n`th entry. `revision` rises by one with each change that
    is stored. `facts` were told of the order and are not applied to it yet, the oldest first.

    Personal are `email`, `shipping_address`, `payment_token` and `owner`: see `checkout.privacy.order_codec`. They are empty once
    they were erased, at `erased_at`. `payment_token` names the shopper's means of payment at the payment service; no
    response contains it. `restocked`: all goods of the order are back in stock.
    `line_returns`: the units of each SKU that came back; empty in records from before returns named lines.
    `workflow` is the version of the workflow that runs the order to its end; 0 in records from before there were versions.
    `discounts` and `tax` have fixed amounts, as of when the order was accepted; no `tax` where the shop has no tax rates.
    `home` is the Region that works on the order, of a copy from the archive whose home is not this one. It is never stored.
    """

    id: OrderId
    cart_id: CartId
    currency: str
    lines: tuple[OrderLine, ...]
    shipping_method: str
    shipping: int
    created_at: int
    updated_at: int
    history: tuple[HistoryEntry, ...]
    email: str = ""
    shipping_address: Address = NO_ADDRESS
    payment_token: str = ""
    status: OrderStatus = OrderStatus.ACCEPTED
    reason: CancelReason | None = None
    owner: str | None = None
    shipment: Shipment | None = None
    restocked: bool = False
    line_returns: tuple[LineReturn, ...] = ()
    payment: Payment | None = None
    workflow: int = 0
    revision: int = 1
    facts: tuple[Fact, ...] = ()
    erased_at: int | None = None
    home: str | None = None
    discounts: tuple[Discount, ...] = ()
    tax: ShippingTax | None = None

    def __repr__(self) -> str:  # without address and token, for logs
        return f"Order(id={self.id!r}, status={self.status.value!r})"

    @property
    def number(self) -> str:
        """The order number, for people; see `order_number`."""
        return order_number(self.id)

    @property
    def held(self) -> Sequence[Wanted]:
        """All of which stock is held: the lines, and a use of each coupon whose uses are counted."""
        uses = [StockLine(Sku(MARK + discount.code), 1) for discount in self.discounts if discount.is_counted]
        return [*(StockLine(line.sku, line.quantity) for line in self.lines), *uses] if uses else self.lines

    @property
    def skus(self) -> list[Sku]:
        """The SKUs of all of which stock is held."""
        skus = [line.sku for line in self.lines]
        if self.discounts:
            skus += [Sku(MARK + discount.code) for discount in self.discounts if discount.is_counted]
        return skus

    @property
    def amounts(self) -> Amounts:
        """Its amounts and their sum."""
        return amounts_of(self.lines, self.shipping, self.discounts, self.tax)

    @property
    def total(self) -> int:
        """To be paid by the shopper, in minor units."""
        return self.amounts.total

    @property
    def refunded(self) -> int:
        """The sum of its refunds, in minor units."""
        return sum(entry.refunded or 0 for entry in self.history)

    def with_ahead(self, ahead: Mapping[Sku, SoldAhead]) -> Order:
        """The order with these units of its lines sold ahead."""
        lines = (
            msgspec.structs.replace(line, ahead=sold.units, available_on=sold.available_on)
            if (sold := ahead.get(line.sku))
            else line
            for line in self.lines
        )
        return msgspec.structs.replace(self, lines=tuple(lines))

    def as_accepted(self) -> Order:
        """The order as it was when it was accepted: the same in every later status, so that a replay has the same bytes."""
        return msgspec.structs.replace(
            self,
            status=OrderStatus.ACCEPTED,
            reason=None,
            history=self.history[:1],
            updated_at=self.created_at,
            shipment=None,
            restocked=False,
            line_returns=(),
            revision=1,
            facts=(),
            payment=None,
        )

    def moved(
        self, to: OrderStatus, *, at: int, detail: str | None = None, reason: CancelReason | None = None
    ) -> Order:
        """The order after a transition at `at`; `reason` goes with `cancelled` and only with it.

        Raises `ValueError` for a transition that does not exist.
        """
        if not may_move(self.status, to):
            raise ValueError(f"an order that is {self.status} cannot become {to}")
        if (reason is None) == (to is OrderStatus.CANCELLED):
            raise ValueError("a cancelled order has a reason, and no other has")
        moved = self.noted(at=at, status=to, detail=detail)
        return msgspec.structs.replace(moved, status=to, reason=reason)

    def noted(
        self, *, at: int, status: OrderStatus | None = None, detail: str | None = None, refunded: int | None = None
    ) -> Order:
        """The order with one more entry in its history, in its own status unless another is given."""
        at = max(at, self.updated_at)  # the clock of another machine may be behind
        entry = HistoryEntry(status or self.status, at, detail, refunded)
        return msgspec.structs.replace(self, history=(*self.history, entry), updated_at=at, revision=self.revision + 1)

    def without(self, fact: Fact) -> Order:
        """The order, to which this fact is applied."""
        return msgspec.structs.replace(self, facts=tuple(each for each in self.facts if each.id != fact.id))

    def revised(self) -> Order:
        """The order at its next revision, without an entry in its history."""
        return msgspec.structs.replace(self, revision=self.revision + 1)

    def to_json(self) -> bytes:
        """The order as the API sends it."""
        amounts = self.amounts
        return msgspec.json.encode(
            responses.Order(
                id=self.id,
                number=self.number,
                cart_id=self.cart_id,
                status=self.status,
                reason=msgspec.UNSET if self.reason is None else self.reason,
                lines=[line_response(line, self.currency) for line in self.lines],
                subtotal=self._money(amounts.subtotal),
                discounts=[discount_response(discount, self.currency) for discount in self.discounts],
                shipping=self._money(self.shipping),
                tax=tax_response(self.tax, amounts, self.currency),
                total=self._money(amounts.total),
                refunded=self._refunded_response(),
                email=self.email,
                shipping_address=msgspec.UNSET if self.owner is None else self.shipping_address.to_response(),
                shipment=self._shipment_response(),
                created_at=rfc3339(self.created_at),
                updated_at=rfc3339(self.updated_at),
                history=[entry.to_response(self.currency) for entry in self.history],
            )
        )

    def _refunded_response(self) -> Money | msgspec.UnsetType:
        refunded = self.refunded
        return self._money(refunded) if refunded else msgspec.UNSET

    def _shipment_response(self) -> responses.Shipment | msgspec.UnsetType:
        if self.owner is None or self.shipment is None or self.status is OrderStatus.CANCELLED:
            return msgspec.UNSET
        return self.shipment.to_response()

    def _money(self, amount: int) -> Money:
        return Money(amount, self.currency)
