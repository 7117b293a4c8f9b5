"""The report of a replay, as tables and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.replay.latency import LatencyRow
from benchmarks.replay.reconciliation import Reconciliation, StockCheck
from benchmarks.replay.tables import table

_FAULTS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """The results of a replay; money in minor units of `currency`, times in seconds."""

    reconciliation: Reconciliation
    currency: str
    stock: StockCheck | None
    latencies: Sequence[LatencyRow]
    retries: Mapping[str, int]
    requests: int
    seconds: float
    faults: Sequence[str]
    interrupted: bool = False

    def text(self) -> str:
        """The report as text."""
        parts = [self._totals(), self._latencies()]
        if self.retries:
            parts.append(table(("tried again because", "times"), sorted(self.retries.items())))
        parts.append(self._verdict())
        return "\n\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON."""
        reconciliation = self.reconciliation
        return {
            "seconds": round(self.seconds, 3),
            "requests": self.requests,
            "expected": asdict(reconciliation.expected),
            "orders": reconciliation.orders,
            "orders_by_state": reconciliation.orders_by_state,
            "lines": reconciliation.lines,
            "units": reconciliation.units,
            "money": reconciliation.money,
            "currency": self.currency,
            "carts_lost": reconciliation.carts_lost,
            "stock": asdict(self.stock) if self.stock else None,
            "latencies": [asdict(row) for row in self.latencies],
            "retries": dict(self.retries),
            "faults": list(self.faults),
        }

    def _totals(self) -> str:
        reconciliation, expected = self.reconciliation, self.reconciliation.expected
        rows: list[tuple[object, ...]] = [
            ("baskets", len(reconciliation.purchases), expected.baskets),
            ("lines", reconciliation.lines, expected.lines),
            ("units", reconciliation.units, expected.units),
            ("orders", reconciliation.orders, expected.baskets),
            *((f"  {state}", count, "") for state, count in sorted(reconciliation.orders_by_state.items())),
            (f"money, minor units of {self.currency}", reconciliation.money, expected.money),
        ]
        if self.stock:
            rows.append(("units in stock, before and now", self.stock.after, self.stock.before))
        if reconciliation.carts_lost:
            rows.append(("carts lost, baskets started again", reconciliation.carts_lost, 0))
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
