"""Webhooks of a carrier or shipping service: where the shipment of an order is. `docs/shipping.md` is their contract."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from cart.timestamps import unix_ms
from checkout.errors import WebhookNotSigned
from checkout.fact_intake import FactIntake
from checkout.facts import ShipmentFact
from primitives.webhook_signature import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    InvalidWebhookSignature,
    WebhookSigner,
)

_Name = Annotated[str, Meta(min_length=1, max_length=200)]


class ShipmentReport(Struct, kw_only=True):
    """Where the shipment of an order is. Unknown members are ignored."""

    order_id: Annotated[str, Meta(description="The id of the order.", examples=["7fzqk3d5wmx2anbt6hcvr4ylse"])]
    status: Annotated[
        Literal["shipped", "delivered", "returned"],
        Meta(description="What became of the shipment.", examples=["shipped"]),
    ]
    at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(description="When; the time of the webhook unless given.", examples=["2026-11-27T06:00:00Z"]),
    ] = None
    carrier: Annotated[_Name | None, Meta(description="The carrier.", examples=["Royal Mail"])] = None
    tracking_number: Annotated[_Name | None, Meta(description="For the shopper.", examples=["AB123456789GB"])] = None
    tracking_url: Annotated[
        Annotated[str, Meta(max_length=2000, pattern=r"^https?://[!-~]+$")] | None,
        Meta(description="Where the shopper follows it.", examples=["https://track.example/AB123456789GB"]),
    ] = None
    restock: Annotated[
        bool, Meta(description="Whether the goods of a returned order are put back into stock.", examples=[False])
    ] = False


class ShippingWebhooks:
    """Receives the reports that are signed with one of the secrets, and appends each to its order, once."""

    def __init__(self, signer: WebhookSigner, intake: FactIntake, *, clock_ms: Callable[[], int] = unix_ms) -> None:
        self._signer = signer
        self._intake = intake
        self._clock_ms = clock_ms

    async def receive(self, headers: Mapping[str, str], body: bytes, report: ShipmentReport) -> None:
        """Take in the report that is the `body`; returns once it is as durable as promised, also at a repeat.

        A report on an order of another shop is accepted, counted and logged. Raises `WebhookNotSigned`, `TooManyFacts` and
        `ChangeNotDurable`.
        """
        try:
            webhook_id = self._signer.verify_fields(
                headers.get(ID_HEADER), headers.get(TIMESTAMP_HEADER), headers.get(SIGNATURE_HEADER), body
            )
        except InvalidWebhookSignature as invalid:
            raise WebhookNotSigned(invalid.reason) from invalid
        await self._intake.append_of_webhook(report.order_id, self._fact(webhook_id, report), sender="shipping")

    def _fact(self, webhook_id: str, report: ShipmentReport) -> ShipmentFact:
        return ShipmentFact(
            # A hash: the id of a stranger may have any length and characters.
            id=f"carrier:{hashlib.sha256(webhook_id.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}",
            at=self._clock_ms() if report.at is None else round(report.at.timestamp() * 1000),
            became=report.status,
            carrier=report.carrier,
            tracking=report.tracking_number,
            tracking_url=report.tracking_url,
            restock=report.restock,
        )
