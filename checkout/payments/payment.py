"""The payment of an order, as the payment service last reported it; it is stored with the order.

Amounts are minor units of the order's currency, times Unix milliseconds UTC. No card data: the shopper's means of payment
is a token of the payment service.
"""

from __future__ import annotations

import msgspec


class Payment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The amounts that are authorised, captured and refunded.

    `reference` names the payment at its service. An authorisation is valid until `authorised_until`, if the service says
    so. `authorisations` counts them: one that ran out was renewed. `refund_ids` names the refunds that the shop asked for.
    """

    reference: str
    authorised: int = 0
    authorised_until: int | None = None
    captured: int = 0
    refunded: int = 0
    voided: bool = False
    """The authorisation was released, or ran out, before it was captured."""
    authorisations: int = 1
    refund_ids: tuple[str, ...] = ()

    @property
    def is_captured(self) -> bool:
        """Whether money was taken, of which some may be refunded since."""
        return self.captured > 0

    @property
    def holds_money(self) -> bool:
        """Whether an amount is reserved or taken: a cancelled order returns it."""
        return self.refundable > 0 or (self.authorised > 0 and not self.is_captured and not self.voided)

    @property
    def refundable(self) -> int:
        """The captured amount that is not refunded."""
        return self.captured - self.refunded

    def may_be_captured(self, *, at: int) -> bool:
        """Whether the authorisation is valid at this time."""
        if self.voided or not self.authorised:
            return False
        return self.authorised_until is None or at < self.authorised_until
