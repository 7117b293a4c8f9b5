"""The closing table of a replay, and the same as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.replay.latency import LatencyRow
from benchmarks.replay.reconciliation import Ledger, StockCheck
from benchmarks.replay.tables import table

_FAULTS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """All that a replay found out; money in minor units of `currency`, times in seconds."""

    ledger: Ledger
    currency: str
    stock: StockCheck | None
    latencies: Sequence[LatencyRow]
    retries: Mapping[str, int]
    requests: int
    seconds: float
    faults: Sequence[str]
    interrupted: bool = False

    def text(self) -> str:
        """The closing table for people."""
        parts = [self._totals(), self._latencies()]
        if self.retries:
            parts.append(table(("tried again because", "times"), sorted(self.retries.items())))
        parts.append(self._verdict())
        return "\n\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        ledger = self.ledger
        return {
            "seconds": round(self.seconds, 3),
            "requests": self.requests,
            "expected": asdict(ledger.expected),
            "orders": ledger.orders,
            "orders_by_state": ledger.orders_by_state,
            "lines": ledger.lines,
            "units": ledger.units,
            "money": ledger.money,
            "currency": self.currency,
            "carts_lost": ledger.carts_lost,
            "stock": asdict(self.stock) if self.stock else None,
            "latencies": [asdict(row) for row in self.latencies],
            "retries": dict(self.retries),
            "faults": list(self.faults),
        }

    def _totals(self) -> str:
        ledger, expected = self.ledger, self.ledger.expected
        rows: list[tuple[object, ...]] = [
            ("baskets", len(ledger.purchases), expected.baskets),
            ("lines", ledger.lines, expected.lines),
            ("units", ledger.units, expected.units),
            ("orders", ledger.orders, expected.baskets),
            *((f"  {state}", count, "") for state, count in sorted(ledger.orders_by_state.items())),
            (f"money, minor units of {self.currency}", ledger.money, expected.money),
        ]
        if self.stock:
            rows.append(("units in stock, before and now", self.stock.after, self.stock.before))
        if ledger.carts_lost:
            rows.append(("carts lost, baskets started again", ledger.carts_lost, 0))
        return table(("", "accepted", "expected"), rows)

    def _latencies(self) -> str:
        rows = [
            (row.kind, row.calls, *(f"{ms:,.1f}" for ms in (row.p50_ms, row.p90_ms, row.p99_ms, row.max_ms)))
            for row in self.latencies
        ]
        return table(("latency in ms", "calls", "p50", "p90", "p99", "max"), rows)

    def _verdict(self) -> str:
        pace = f"{self.requests:,} requests in {self.seconds:,.1f} s ({self.requests / max(self.seconds, 1e-9):,.0f}/s)"
        if not self.faults:
            return f"{pace}. Everything adds up."
        shown = [f"  {fault}" for fault in self.faults[:_FAULTS_SHOWN]]
        if (more := len(self.faults) - _FAULTS_SHOWN) > 0:
            shown.append(f"  and {more:,} more")
        return "\n".join([f"{pace}. It does NOT add up:", *shown])
