"""Errors of checkout: refusals of checkout and order calls, and failures of external services.

The HTTP status and text of each refusal are in `gateway.http.problems`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cart.errors import Interrupted, Refusal
from cart.model import Money, Sku


class OrderNotFound(Refusal):
    """No order of this shopper has this id."""


class TooManyFacts(Refusal):
    """The order has `checkout.facts.MAX_FACTS` facts and takes no more."""


class WebhookNotSigned(Refusal):
    """A webhook without a valid signature of these minutes. `detail` says what is wrong, and has no part of it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class CartEmpty(Refusal):
    """The cart has no lines."""


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


class OverLimit(msgspec.Struct, frozen=True):
    """A line that wants more units than the shopper may still order of its product."""

    sku: Sku
    requested: int
    remaining: int


class SoldAhead(msgspec.Struct, frozen=True):
    """A line that is held, of which `units` were sold before the shop has them: about `available_on`, empty if unknown."""

    sku: Sku
    units: int
    available_on: str = ""


HoldOutcome = Shortage | OverLimit | SoldAhead


class ShopperLimit(Refusal):
    """Some lines want more than one shopper may order; nothing is held."""

    def __init__(self, lines: Sequence[OverLimit]) -> None:
        super().__init__(lines)
        self.lines = list(lines)


class TotalMismatch(Refusal):
    """The `expected_total` differs from the `total`, and no price changed."""

    def __init__(self, total: Money) -> None:
        super().__init__(total)
        self.total = total


class ShippingNotOffered(Refusal):
    """The shipping `method` has no price for this order; `offered` have one."""

    def __init__(self, method: str, offered: Sequence[str]) -> None:
        super().__init__(method, offered)
        self.method = method
        self.offered = list(offered)


class CardDataRefused(Refusal):
    """The body contains a card number; it is not stored, logged or forwarded."""


class OrderNotDurable(Refusal):
    """The order was not durable in time and was rolled back; the same key may be used again."""


class CheckoutInterrupted(Interrupted):
    """A dependency failed during a checkout. With `may_have_run` the order may have been placed; otherwise nothing was ordered.

    In both cases the same key may be used again.
    """


class ChangeNotDurable(Interrupted):
    """An order was changed, but the change is not as durable as promised yet. The same call may be repeated."""

    def __init__(self) -> None:
        super().__init__(may_have_run=True)


class OrderElsewhere(Refusal):
    """Another Region, `home`, works on the order: only that one may change it."""

    def __init__(self, home: str) -> None:
        super().__init__(home)
        self.home = home


class HomeUnavailable(Interrupted):
    """The Region that works on the order did not answer a change that was forwarded to it. The same call may be repeated."""


class CancelTooLate(Refusal):
    """The order's `status` is too late to cancel it."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


# --- raised between parts of checkout, never sent to clients


class StatusConflict(Exception):
    """The stored order is in status `current`, not in the one that the caller expected; '' if the store has no such order."""

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


class ServiceNotReached(ServiceUnavailable):
    """The call was not carried out, because the service is away or rejects all calls: the order waits, and does not fail."""


class ResolveLater(ServiceUnavailable):
    """The outcome of a call is not known, and can be known in `retry_after_s` seconds; an immediate retry is pointless."""

    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class DependencyTripped(Exception):
    """A breaker cuts off an external service: the call was not made, or it `was_called` and failed while the breaker opened.

    Calls may go through again in about `retry_after_s` seconds. Until then the order waits; it is not declined.
    """

    # The breaker logs it.
    is_logged_once = True

    def __init__(self, name: str, *, retry_after_s: float, was_called: bool = False) -> None:
        super().__init__(f"{name} is cut off")
        self.name = name
        self.retry_after_s = retry_after_s
        self.was_called = was_called


class LeaseLost(Exception):
    """Another worker has the lease of the order; this one must not continue it."""


class CannotRunAgain(Exception):
    """The order cannot run again from `step`; `detail` says why, for an operator."""

    def __init__(self, step: str, detail: str) -> None:
        super().__init__(f"{step}: {detail}")
        self.step = step
        self.detail = detail


class CannotRefund(Exception):
    """The order cannot be refunded so; the text says why, for an operator."""


class UnknownWorkflow(Exception):
    """The order was accepted with a `version` of the workflow that this process does not have: a newer process runs it."""

    def __init__(self, version: int) -> None:
        super().__init__(f"no workflow of version {version} in this process")
        self.version = version
