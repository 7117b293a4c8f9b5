"""Payment services: one call of each operation, and their webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from cart.model import OrderId
from checkout.errors import Declined, ServiceNotReached, ServiceUnavailable
from checkout.facts import PaymentFact
from checkout.order import Order
from checkout.payments.payment import Payment


class PaymentNotRun(ServiceNotReached):
    """The service did not carry the call out: it was not reached, or rejected it before it began."""


class PaymentUnknown(ServiceUnavailable):
    """No response says whether the call took effect. Only a look-up does."""


class PaymentFailed(PaymentUnknown):
    """The service failed during the call, and gives this response to every call with the same key.

    `is_replay`: this was such a repeated response, of a call that had ended before.
    """

    def __init__(self, detail: str, *, is_replay: bool = False) -> None:
        super().__init__(detail)
        self.is_replay = is_replay


class AuthorisationExpired(Declined):
    """The authorisation ran out before the capture; it may be renewed."""


class PaymentProvider(Protocol):
    """A payment service. Each method is one call, with an idempotency key.

    The service carries a call out once for each key, for `key_life_s` seconds after the first call; later the key is
    forgotten, and the same call would take effect again. `look_up_lag_s`: so long after an authorisation, a look-up by order
    id alone may still not find it.

    Raises `Declined` for a refusal for good, and the errors of this module. Each returns the payment after the call.
    """

    key_life_s: float
    look_up_lag_s: float

    async def authorise(self, order: Order, *, number: int, key: str) -> Payment:
        """Reserve the order's total on the shopper's means of payment, for the `number`th time (from 1)."""
        ...

    async def capture(self, order: Order, payment: Payment, *, key: str) -> Payment:
        """Take all that is authorised. Raises `AuthorisationExpired` if it no longer is."""
        ...

    async def void(self, order: Order, payment: Payment, *, key: str) -> Payment:
        """Release the reserved amount. A payment that was captured meanwhile is returned as it is."""
        ...

    async def close(self, order: Order, *, key: str) -> Payment | None:
        """Make sure that no earlier call can still authorise a payment of this order, after a look-up that found none.

        Returns the payment that one has authorised all the same, None if there is none.
        """
        ...

    async def refund(self, order: Order, payment: Payment, amount: int, *, refund_id: str, key: str) -> Payment:
        """Return a part of the captured amount, or all of it; the shop's name for this refund is `refund_id`."""
        ...

    async def look_up(self, order: Order, reference: str | None) -> Payment | None:
        """The order's payment, None if the service knows none; with a `reference`, that payment. Changes nothing."""
        ...


class PaymentNotice(msgspec.Struct, frozen=True):
    """A webhook of a payment service: a fact about the payment of this order."""

    order_id: OrderId
    fact: PaymentFact


class PaymentWebhooks(Protocol):
    """Reads the webhooks of a payment service."""

    def read(self, headers: Mapping[str, str], body: bytes) -> PaymentNotice | None:
        """Verify the signature over the raw body, and decode it; None for an event that says nothing about an order.

        `headers` are looked up by any case. Raises `WebhookNotSigned`, and `InvalidBody`
        for a signed body that is none of its events.
        """
        ...
