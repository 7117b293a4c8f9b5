"""The shipment of an order, as its carrier booked it."""

from __future__ import annotations

import msgspec

from checkout import responses


class Shipment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A booked shipment. `reference` is its id at the carrier or at the shop's fulfilment service.

    `tracking_number` and `tracking_url` are for the shopper; a carrier may have none.
    """

    reference: str
    carrier: str
    tracking_number: str | None = None
    tracking_url: str | None = None

    def without_tracking(self) -> Shipment:
        """The shipment without the number that leads to its recipient at the carrier."""
        return Shipment(self.reference, self.carrier)

    def to_response(self) -> responses.Shipment:
        """The shipment as the API sends it to the owner of an order."""
        return responses.Shipment(
            reference=self.reference,
            carrier=self.carrier,
            tracking_number=msgspec.UNSET if self.tracking_number is None else self.tracking_number,
            tracking_url=msgspec.UNSET if self.tracking_url is None else self.tracking_url,
        )
