"""Findings of an audit, and the bounds of waiting."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from checkout.outbox import SUBMITTED_WITHIN_S
from checkout.ports.stock import HOLD_MS
from checkout.sweeper import CLOSED_WITHIN_S

Kind = Literal["order", "claim", "outbox", "sku"]


class Finding(msgspec.Struct, frozen=True):
    """An order, a claim, a message or a SKU breaks a rule; `remedy` is a command to run, or advice.

    `part` names the part of the subject that breaks it, where several may: the order of a hold.
    """

    rule: str
    kind: Kind
    subject: str
    detail: str
    remedy: str
    part: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """Rule, subject and part, which a second look compares: the detail may have changed meanwhile."""
        return self.rule, self.subject, self.part


# For so long the queue may be away, or no gateway run, as in an upgrade or a failover.
GRACE_S: Final = 600.0


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How long each may wait, in ms.

    `order_ms` is the time without a sign of life of an order in flight, `hold_ms` that of a hold without an order behind its expiry.
    """

    order_ms: int = 3_600_000
    outbox_ms: int = round((SUBMITTED_WITHIN_S + GRACE_S) * 1000)
    claim_ms: int = round((CLOSED_WITHIN_S + GRACE_S) * 1000)
    # The claim of the hold is as old as the hold, or older.
    hold_ms: int = round((CLOSED_WITHIN_S + GRACE_S) * 1000) - HOLD_MS


DEFAULT_BOUNDS = Bounds()
