"""Refusals of cart calls: nouns with the facts that a client needs.

The status and text of each are in `gateway.http.problems`.
"""

from __future__ import annotations

from collections.abc import Sequence

from cart.coupons import CouponFault
from cart.model import Money


class Refusal(Exception):
    """A valid request that the shop declines."""


class SignInRequired(Refusal):
    """The call is about the carts or orders of the signed-in shopper, and nobody is signed in."""


class CartNotFound(Refusal):
    """No such cart: malformed id, never made, deleted, expired, or owned by another shopper."""


class LineNotFound(Refusal):
    """The cart has no line of this SKU to remove."""

    def __init__(self, sku: str) -> None:
        super().__init__(sku)
        self.sku = sku


class ProductNotFound(Refusal):
    """The price book does not sell this SKU."""

    def __init__(self, sku: str) -> None:
        super().__init__(sku)
        self.sku = sku


class TrendingPaused(Refusal):
    """Trending products are off while the shop lacks capacity, or were not read yet."""


class CartFull(Refusal):
    """The write would give the cart more than `limit` lines."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class QuantityLimit(Refusal):
    """The write would give a line a quantity above `limit`."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class VersionMismatch(Refusal):
    """`If-Match` named another version than the cart's, which is `current_version`."""

    def __init__(self, current_version: int) -> None:
        super().__init__(current_version)
        self.current_version = current_version


class CartClosed(Refusal):
    """The cart is ordered (then `order_id` is its order) or merged into another cart."""

    def __init__(self, order_id: str | None = None) -> None:
        super().__init__(order_id)
        self.order_id = order_id


class HoldNotExtendable(Refusal):
    """The units of the line are not held any more, or their time was extended before."""


class InvalidBody(Refusal):
    """The body breaks a rule; `errors` are (JSON pointer of RFC 6901, detail) pairs, one at least."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        super().__init__(errors)
        self.errors = list(errors)


class CouponRefused(Refusal):
    """The coupon `code` does not count, for the reason of `fault`. An `expected_total` equal to the `total` is consent to that.

    There is no `total` where nothing was priced, or where the last use has just been taken.
    """

    def __init__(self, code: str, fault: CouponFault, total: Money | None = None) -> None:
        super().__init__(code, fault, total)
        self.code = code
        self.fault = fault
        self.total = total


class IdempotencyKeyMissing(Refusal):
    """The `Idempotency-Key` is missing where it is required, or invalid; `detail` names the fault."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class IdempotencyKeyReused(Refusal):
    """The idempotency key was used for another request."""


class ForeignCurrency(Exception):
    """Raised by adapters to handlers only: something is not priced in the cart's `currency`.

    Handlers convert it to an `InvalidBody` that names the member of the body, so this is no `Refusal`.
    """

    def __init__(self, currency: str) -> None:
        super().__init__(currency)
        self.currency = currency


class Interrupted(Exception):
    """A dependency failed during a write; its error is the cause.

    With `may_have_run` the write may have taken effect; without it, nothing has changed. An adapter's own error says this
    of one call; raise this one where a write has several.
    """

    def __init__(self, *, may_have_run: bool) -> None:
        super().__init__(may_have_run)
        self.may_have_run = may_have_run
