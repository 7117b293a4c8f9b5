"""Payment services for tests: each adapter, with a clock that the test moves and faults that it plans."""

from __future__ import annotations

import base64
from collections.abc import Callable

from benchmarks.upstreams.payment_server import InProcessTransport
from benchmarks.upstreams.payment_stand_in import Fault, PaymentStandIn, Webhook
from checkout.payments.http import HttpPayments, HttpPaymentWebhooks
from checkout.payments.stripe import StripePayments
from checkout.payments.stripe_webhooks import StripeWebhooks
from checkout.ports.payments import PaymentProvider, PaymentWebhooks
from primitives.webhook_signature import WebhookSigner

NOW_S = 1_795_000_000.0
SECRET = "whsec_" + base64.b64encode(b"a secret of at least 24 bytes").decode()
STRIPE_SECRET = "whsec_stand_in"


class PaymentService:
    """The stand-in, the adapter `http` or `stripe` in front of it, and the webhooks that it sent."""

    def __init__(
        self,
        adapter: str,
        *,
        clock: Callable[[], float],
        fault: Callable[[str], Fault] = lambda _operation: Fault.NONE,
        search_lag_s: float = 0.0,
    ) -> None:
        self.is_stripe = adapter == "stripe"
        self.webhooks: list[Webhook] = []
        signer = WebhookSigner(SECRET, clock=clock)
        self.stand_in = PaymentStandIn(
            signer=None if self.is_stripe else signer,
            webhook_secret=STRIPE_SECRET,
            fault=fault,
            clock=clock,
            on_webhook=self.webhooks.append,
            search_lag_s=search_lag_s,
        )
        self.transport = InProcessTransport(self.stand_in)
        self.provider: PaymentProvider = HttpPayments(self.transport, signer)
        self.reader: PaymentWebhooks = HttpPaymentWebhooks(signer)
        if self.is_stripe:
            self.provider = StripePayments(self.transport, api_key="sk_test_1")
            self.reader = StripeWebhooks(STRIPE_SECRET, clock=clock)

    def fail_next(self, *faults: Fault) -> None:
        """The next calls, look-ups apart, have these faults."""
        plan = iter(faults)
        self.stand_in.fault = lambda _operation: next(plan, Fault.NONE)

    def movements(self, order_id: str) -> list[tuple[str, int]]:
        """What the ledger has of an order."""
        return [(entry.kind, entry.amount) for entry in self.stand_in.ledger if entry.order_id == order_id]

    def headers(self, webhook: Webhook) -> dict[str, str]:
        """The headers with which a webhook is delivered now."""
        return self.stand_in.signed(webhook, as_stripe=self.is_stripe)
