"""The rules, a file each: functions from entries of the books to findings. `ORDER_RULES` are those of orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from checkout.audit.finding import Bounds, Finding
from checkout.audit.rules.attention import attention
from checkout.audit.rules.document import document
from checkout.audit.rules.flight import flight
from checkout.audit.rules.history import history
from checkout.audit.rules.holds import holds
from checkout.audit.rules.listing import listing
from checkout.audit.rules.money import money
from checkout.audit.rules.number import number
from checkout.audit.rules.payment import payment
from checkout.audit.rules.stuck import stuck
from checkout.ports.books import Entry

OrderRule = Callable[[Entry, Bounds], Iterator[Finding]]
ORDER_RULES: Final[tuple[OrderRule, ...]] = (
    document,
    listing,
    flight,
    stuck,
    attention,
    history,
    holds,
    payment,
    money,
    number,
)
# The names that a finding may have.
RULES: Final = (*(rule.__name__ for rule in ORDER_RULES), "outbox", "claim", "stray_hold", "stock", "stock_sum")
