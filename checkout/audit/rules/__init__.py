"""The rules, a file each: functions from what the books say of a subject to findings. A new rule is a file and a line of its table."""

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
from checkout.audit.rules.stock import stock, stray_hold
from checkout.audit.rules.stock_sum import stock_sum
from checkout.audit.rules.stuck import stuck
from checkout.audit.rules.waiting import claim, outbox
from checkout.ports.books import Entry, StockRecord

SkuRule = Callable[[StockRecord, Bounds], Iterator[Finding]]
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
SKU_RULES: Final[tuple[SkuRule, ...]] = (stock, stock_sum, stray_hold)
# The names that a finding may have.
RULES: Final = tuple(rule.__name__ for rule in (*ORDER_RULES, *SKU_RULES, outbox, claim))
