"""Webhooks of a payment service: reports on the payments of orders. `docs/payments.md` is their contract."""

from __future__ import annotations

from collections.abc import Mapping

from checkout.fact_intake import FactIntake
from checkout.ports.payments import PaymentWebhooks


class PaymentWebhookIntake:
    """Receives the reports of a payment service, and appends each to its order, once."""

    def __init__(self, webhooks: PaymentWebhooks, intake: FactIntake) -> None:
        self._webhooks = webhooks
        self._intake = intake

    async def receive(self, headers: Mapping[str, str], body: bytes) -> None:
        """Take in the report that is the `body`; returns once it is as durable as promised, also at a repeat.

        A report on an order of another shop is accepted, counted and logged. Raises `WebhookNotSigned`, `InvalidBody`, `TooManyFacts` and `ChangeNotDurable`.
        """
        notice = self._webhooks.read(headers, body)
        if notice is None:
            return
        await self._intake.append_of_webhook(notice.order_id, notice.fact, sender="payment")
