"""The checkouts of a worker, and the webhooks that are about no order, as operators see them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from checkout.fact_intake import FactIntake
from checkout.handlers import CheckoutHandlers
from gateway.metrics import Metric, Sample

_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")


class CheckoutStats:
    """Checkouts by their result: `accepted`, `replayed`, `failed`, or the problem for which they were refused."""

    def __init__(self, checkout: CheckoutHandlers) -> None:
        self._checkout = checkout

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {_result(name): count for name, count in sorted(self._checkout.placed.items())}

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_checkouts_total",
            "Checkouts by their result: accepted, replayed, failed, or the reason of the refusal.",
            "counter",
            [Sample({"result": result}, float(count)) for result, count in self.snapshot().items()],
        )
        yield Metric(
            "peakgate_sold_out_refusals_total",
            "Checkouts refused as out of stock because a SKU was remembered to be sold out, without asking for its stock.",
            "counter",
            [Sample({}, float(self._checkout.sold_out.refused))],
        )


class ReportStats:
    """Webhooks about orders that the shop does not have, by the service that sent them."""

    def __init__(self, intake: FactIntake) -> None:
        self._intake = intake

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {"unknown_orders": dict(sorted(self._intake.unknown.items()))}

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_reports_of_unknown_orders_total",
            "Webhooks about orders that the shop does not have, by the service that sent them.",
            "counter",
            [Sample({"service": service}, float(count)) for service, count in sorted(self._intake.unknown.items())],
        )


def _result(name: str) -> str:
    """The name of a refusal as that of its problem: `OutOfStock` is `out-of-stock`."""
    return _CAPITAL.sub("-", name).lower()
