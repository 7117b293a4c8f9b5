"""Errors of checkout: refusals of checkout and order calls, and failures of external services.

The HTTP status and text of each refusal are in `gateway.http.problems`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cart.errors import Refusal
from cart.model import Money, Sku


class OrderNotFound(Refusal):
    """No order of this shopper has this id."""


class CartEmpty(Refusal):
    """The cart has no lines."""


class IdempotencyKeyMissing(Refusal):
    """The `Idempotency-Key` is missing or invalid; `detail` names the fault."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class IdempotencyKeyReused(Refusal):
    """The idempotency key was used with another body."""


class IdempotencyKeyInProgress(Refusal):
    """Another checkout of this cart is running; it ends within seconds."""


class ChangedPrice(msgspec.Struct, frozen=True):
    """A line whose unit price changed since it was written: from `was` to `now`."""

    sku: Sku
    was: Money
    now: Money


class PriceChanged(Refusal):
    """Prices changed since the lines were written. An `expected_total` equal to the new `total` is consent."""

    def __init__(self, lines: Sequence[ChangedPrice], total: Money) -> None:
        super().__init__(lines, total)
        self.lines = list(lines)
        self.total = total


class Shortage(msgspec.Struct, frozen=True):
    """A line whose quantity is not available."""

    sku: Sku
    requested: int
    available: int


class OutOfStock(Refusal):
    """Some lines are not available in full; nothing is held."""

    def __init__(self, lines: Sequence[Shortage]) -> None:
        super().__init__(lines)
        self.lines = list(lines)


class TotalMismatch(Refusal):
    """The `expected_total` differs from the `total`, and no price changed."""

    def __init__(self, total: Money) -> None:
        super().__init__(total)
        self.total = total


class CardDataRefused(Refusal):
    """The body contains a card number; it is not stored, logged or forwarded."""


class OrderNotDurable(Refusal):
    """The order was not durable in time and was rolled back; the same key may be used again."""


class CancelTooLate(Refusal):
    """The order's `status` is too late to cancel it."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


# --- raised between parts of checkout, never sent to clients


class StatusConflict(Exception):
    """The stored order is in status `current`, not in the one that the caller expected."""

    def __init__(self, current: str) -> None:
        super().__init__(current)
        self.current = current


class StockNotHeld(Exception):
    """The order's stock cannot be confirmed: there is no hold of `skus`."""

    def __init__(self, skus: Sequence[Sku]) -> None:
        super().__init__(skus)
        self.skus = list(skus)


class Declined(Exception):
    """An external service refused for good, so retries are pointless. `detail` goes into the order's history."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ServiceUnavailable(Exception):
    """An external service could not be reached or did not respond; the call may or may not have taken effect."""


class DependencyTripped(Exception):
    """A breaker cuts off an external service: the call was not made, or it failed and opened the breaker.

    Calls may go through again in about `retry_after_s` seconds. Until then the order waits; it is not declined.
    """

    # The breaker logs it.
    is_logged_once = True

    def __init__(self, name: str, *, retry_after_s: float) -> None:
        super().__init__(f"{name} is cut off")
        self.name = name
        self.retry_after_s = retry_after_s
