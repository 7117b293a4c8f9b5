"""The service levels of the shop, and the rules that watch them: errors by window, and multi-window burn-rate alerts.

A burn rate of 1 uses up the budget of an objective in exactly its period of 30 days. An alert wants a high rate in a long
window, so that it matters, and in a short one, so that it ends when the trouble does (Google's SRE workbook, chapter 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


@dataclass(frozen=True)
class Burn:
    """An alert on the rate at which a budget is used: both windows are above `rate` times the budget."""

    severity: str
    rate: float
    long: str
    short: str
    used: str


# Two per cent of the budget in an hour and five in six hours wake somebody; ten in one or three days can wait for the morning.
BURNS = (
    Burn("page", 14.4, "1h", "5m", "2 % of the month's budget in the last hour"),
    Burn("page", 6, "6h", "30m", "5 % of the month's budget in the last six hours"),
    Burn("ticket", 3, "1d", "2h", "10 % of the month's budget in the last day"),
    Burn("ticket", 1, "3d", "6h", "10 % of the month's budget in the last three days"),
)


@dataclass(frozen=True)
class Objective:
    """A service level: the share of `events` that must not be `bad`. Both are PromQL with `{window}`."""

    name: str
    alert: str
    share: float
    events: str
    bad: str
    # Bad events in the long window below which nobody is woken: at night a single one would be a large share.
    least: int
    summary: str
    runbook: str


CHECKOUT = 'route="/v1/checkout",method="POST"'
# Answers that are as intended: a place in the queue, and a feature that somebody has switched off.
INTENDED = 'problem=~"waiting-room|disabled"'
CART = 'route="/v1/carts/{cart_id}",method="GET"'

OBJECTIVES = (
    Objective(
        name="checkout_availability",
        alert="PeakgateCheckoutsFail",
        share=0.999,
        events=f"(sum(increase(peakgate_requests_total{{{CHECKOUT}}}[{{window}}]))"
        f" - (sum(increase(peakgate_problems_total{{{CHECKOUT},{INTENDED}}}[{{window}}])) or vector(0)))",
        bad=f'((sum(increase(peakgate_requests_total{{{CHECKOUT},status=~"5.."}}[{{window}}])) or vector(0))'
        f" - (sum(increase(peakgate_problems_total{{{CHECKOUT},{INTENDED}}}[{{window}}])) or vector(0)))",
        least=5,
        summary="Shoppers cannot buy: {{ $value | humanizePercentage }} of checkouts fail",
        runbook="checkout-failing",
    ),
    Objective(
        name="cart_latency",
        alert="PeakgateCartReadsSlow",
        share=0.99,
        events=f"sum(increase(peakgate_request_seconds_count{{{CART}}}[{{window}}]))",
        bad=f"(sum(increase(peakgate_request_seconds_count{{{CART}}}[{{window}}]))"
        f' - sum(increase(peakgate_request_seconds_bucket{{{CART},le="0.1"}}[{{window}}])))',
        least=50,
        summary="Shoppers wait: {{ $value | humanizePercentage }} of cart reads take longer than 100 ms",
        runbook="cart-reads-slow",
    ),
    Objective(
        name="order_completion",
        alert="PeakgateOrdersLate",
        share=0.99,
        events="sum(increase(peakgate_order_completion_seconds_count[{window}]))",
        bad="(sum(increase(peakgate_order_completion_seconds_count[{window}]))"
        ' - sum(increase(peakgate_order_completion_seconds_bucket{le=~"300([.]0)?"}[{window}])))',
        least=5,
        summary="Shoppers have no confirmation: {{ $value | humanizePercentage }} of orders took longer than 5 minutes",
        runbook="orders-late",
    ),
)


def rules() -> dict[str, Any]:
    """The rule file: a group for the errors of each objective, and one for its alerts."""
    groups = []
    for objective in OBJECTIVES:
        groups.append({"name": f"peakgate-{objective.name}", "interval": "30s", "rules": _records(objective)})
        groups.append(
            {
                "name": f"peakgate-{objective.name}-alerts",
                "rules": [_alert(objective, each) for each in ("page", "ticket")],
            }
        )
    return {"groups": groups}


def _records(objective: Objective) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for window in WINDOWS:
        bad = objective.bad.replace("{window}", window)
        events = objective.events.replace("{window}", window)
        records.append({"record": _ratio(objective, window), "expr": f"{bad} / ({events} > 0)"})
    return records + [
        {"record": _count(objective, window), "expr": objective.bad.replace("{window}", window)}
        for window in dict.fromkeys(each.long for each in BURNS)
    ]


def _alert(objective: Objective, severity: str) -> dict[str, Any]:
    burns = [each for each in BURNS if each.severity == severity]
    return {
        "alert": objective.alert,
        "expr": " or ".join(_burning(objective, each) for each in burns),
        "for": "2m" if severity == "page" else "15m",
        "labels": {"severity": severity, "slo": objective.name},
        "annotations": {
            "summary": objective.summary,
            "description": f"The objective is {objective.share:.1%} in 30 days. This rate uses up "
            + ", or ".join(each.used for each in burns)
            + ".",
            "runbook_url": "{{ $externalLabels.docs }}/runbooks/" + objective.runbook + "/",
        },
    }


def _burning(objective: Objective, burn: Burn) -> str:
    limit = f"{burn.rate * (1 - objective.share):.6g}"
    return (
        f"({_ratio(objective, burn.long)} > {limit} and {_ratio(objective, burn.short)} > {limit}"
        f" and {_count(objective, burn.long)} >= {objective.least})"
    )


def _ratio(objective: Objective, window: str) -> str:
    return f"peakgate:{objective.name}:error_ratio_{window}"


def _count(objective: Objective, window: str) -> str:
    return f"peakgate:{objective.name}:errors_{window}"
