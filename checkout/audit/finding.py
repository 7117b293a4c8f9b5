"""Findings of an audit, and the bounds of waiting."""

from __future__ import annotations

from typing import Literal

import msgspec

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


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How long each may wait, in ms. `order_ms` is the time without a sign of life of an order in flight."""

    order_ms: int = 3_600_000
    outbox_ms: int = 600_000
    claim_ms: int = 600_000
    hold_ms: int = 600_000


DEFAULT_BOUNDS = Bounds()
