"""What a checkout or an order call can be refused for, and how outside services fail: nouns with facts.

Status codes and wording of refusals stand on the gateway's page of problems, not here.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cart.errors import Refusal
from cart.model import Money, Sku


class OrderNotFound(Refusal):
    """No such order: malformed id, never accepted, or of another shopper."""


class CartEmpty(Refusal):
    """There is nothing in the cart to order."""


class IdempotencyKeyMissing(Refusal):
    """A checkout came without a usable `Idempotency-Key`; `detail` says what is wrong with it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class IdempotencyKeyReused(Refusal):
    """The key has already come with another body."""


class IdempotencyKeyInProgress(Refusal):
    """Another checkout of this cart is still running; ask again in `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int = 1) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s


class ChangedPrice(msgspec.Struct, frozen=True):
    """A line whose unit price is `now` and not what it `was` when the shopper wrote the line."""

    sku: Sku
    was: Money
    now: Money


class PriceChanged(Refusal):
    """Prices moved since the shopper saw them. An `expected_total` equal to the new `total` is consent to it."""

    def __init__(self, lines: Sequence[ChangedPrice], total: Money) -> None:
        super().__init__(lines, total)
        self.lines = list(lines)
        self.total = total


class Shortage(msgspec.Struct, frozen=True):
    """A line that asks for more than there is."""

    sku: Sku
    requested: int
    available: int


class OutOfStock(Refusal):
    """Some lines cannot be had in full; nothing is held."""

    def __init__(self, lines: Sequence[Shortage]) -> None:
        super().__init__(lines)
        self.lines = list(lines)


class TotalMismatch(Refusal):
    """The shopper's `expected_total` is not the `total`, though no price changed."""

    def __init__(self, total: Money) -> None:
        super().__init__(total)
        self.total = total


class CardDataRefused(Refusal):
    """The body holds what looks like a card number; it must not be kept, logged or passed on."""


class OrderNotDurable(Refusal):
    """The order could not be made as durable as promised in time; it was undone and may be tried again with the same key."""


class CancelTooLate(Refusal):
    """The order has gone too far to be cancelled, or is over; `status` is where it stands."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


# --- not refusals: what the parts of this package tell each other


class StatusConflict(Exception):
    """The stored order is no longer in the status the caller knew; `current` is the one it is in."""

    def __init__(self, current: str) -> None:
        super().__init__(current)
        self.current = current


class StockNotHeld(Exception):
    """The order's stock cannot be confirmed because no hold of it exists; `skus` lack theirs."""

    def __init__(self, skus: Sequence[Sku]) -> None:
        super().__init__(skus)
        self.skus = list(skus)


class Declined(Exception):
    """An outside service answered with a final no; asking again is pointless. `detail` is fit for the order's history."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ServiceUnavailable(Exception):
    """An outside service could not be reached or did not answer: what was asked may or may not have been done."""


class DependencyTripped(Exception):
    """An outside service is cut off for now, because it fails; nothing was asked of it, or what was asked failed.

    It may be asked again in about `retry_after_s` seconds. This says nothing about an order: it waits.
    """

    def __init__(self, name: str, *, retry_after_s: float) -> None:
        super().__init__(f"{name} is cut off")
        self.name = name
        self.retry_after_s = retry_after_s
