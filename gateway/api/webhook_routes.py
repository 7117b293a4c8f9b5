"""The webhooks of other services, which report on orders. A row is in the API if its secret is configured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from checkout.payments.webhooks import PaymentWebhookIntake
from checkout.shipping.webhooks import ShipmentReport, ShippingWebhooks
from gateway.api.binding import Route

# Events of Stripe hold the whole payment with its charge.
MAX_EVENT = 256 * 1024
_PROBLEMS = (
    "webhook-not-signed",
    "too-many-reports",
    "order-elsewhere",
    "dependency-unavailable",
    "forbidden",
)


def webhook_routes(
    *, shipping: ShippingWebhooks | None = None, payments: PaymentWebhookIntake | None = None
) -> Sequence[Route]:
    """A route for each service that sends webhooks."""
    routes = [] if shipping is None else [_shipping_route(shipping)]
    return routes if payments is None else [*routes, _payment_route(payments)]


def _payment_route(webhooks: PaymentWebhookIntake) -> Route:
    return Route(
        method="POST",
        path="/v1/webhooks/payment",
        call=lambda request, _event: webhooks.receive(request.headers, request.body),
        summary="Report on the payment of an order",
        tag="webhooks",
        # An event of the configured payment service, over whose bytes its signature is: that is verified first.
        body=dict[str, Any],
        body_limit=MAX_EVENT,
        # A payment service that signs sends no cards, and its ids may look like their numbers.
        inspect=lambda _body: False,
        status=204,
        criticality="checkout",
        hot=False,
        parameters=("webhook-id", "webhook-timestamp", "webhook-signature"),
        problems=("invalid-body", "malformed-json", "body-too-large", *_PROBLEMS),
    )


def _shipping_route(webhooks: ShippingWebhooks) -> Route:
    return Route(
        method="POST",
        path="/v1/webhooks/shipping",
        call=lambda request, report: webhooks.receive(request.headers, request.body, report),
        summary="Report where a shipment is",
        tag="webhooks",
        body=ShipmentReport,
        # A tracking number may look like the number of a card, and a carrier that signs sends no cards.
        inspect=lambda _body: False,
        status=204,
        criticality="checkout",
        hot=False,
        parameters=("webhook-id", "webhook-timestamp", "webhook-signature"),
        problems=("invalid-body", "malformed-json", *_PROBLEMS),
    )
