"""Each alert fires on a made-up series and ends after it; each names a runbook that exists and speaks to a person."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from promtool import promtool

DEPLOY = Path(__file__).resolve().parent.parent
RULES = DEPLOY / "observability" / "rules"
CHECKOUT = 'peakgate_requests_total{route="/v1/checkout",method="POST",status="%s"}'
CART = 'peakgate_request_seconds_%s{route="/v1/carts/{cart_id}",method="GET"%s}'
ORDERS = "peakgate_order_completion_seconds_%s"

# Alert → (series, minute at which it fires, minute at which it has ended). A minute is a step of a series:
# "0x10 1x10" is ten minutes of nothing and ten of 1; "0+60x30" rises by 60 a minute.
CASES: dict[str, tuple[dict[str, str], int, int]] = {
    "PeakgateOrdersWait": ({"peakgate_queue_oldest_seconds": "0x5 400x15 0x10"}, 15, 25),
    "PeakgateLoadIsShed": ({"peakgate_shedding_pressure": "0x5 0.4x10 0x10"}, 10, 20),
    "PeakgateBooksDisagree": ({'peakgate_audit_findings{rule="stock"}': "0x5 1x10 0x10"}, 10, 20),
    "PeakgateStoreLostData": ({'peakgate_store_losses_total{kind="emptied"}': "0x5 1x90"}, 10, 80),
    "PeakgateInternalErrors": (
        {'peakgate_problems_total{route="/v1/carts",problem="internal-error"}': "0x5 0+10x10 100x20"},
        14,
        30,
    ),
    "PeakgateOrdersNeedAttention": ({"peakgate_orders_needing_attention": "0x5 3x15 0x10"}, 15, 25),
    "PeakgateManyOrdersNeedAttention": ({"peakgate_orders_needing_attention": "0x5 30x15 3x10"}, 15, 25),
    "PeakgateProductTakesAll": (
        {
            'peakgate_checkouts_total{result="out-of-stock"}': "0+600x20 12000x20",
            'peakgate_checkouts_total{result="accepted"}': "0+60x40",
        },
        15,
        35,
    ),
    "PeakgateGatewayDown": ({'up{job="peakgate",instance="a"}': "1x5 0x10 1x10"}, 10, 20),
    "PeakgateWorkerDown": ({'peakgate_up{worker="0a",instance="a"}': "1x5 0x10 1x10"}, 10, 20),
    "PeakgateRestarts": ({'peakgate_restarts_total{process="0",instance="a"}': "0x5 0+1x5 5x20"}, 11, 28),
    "PeakgateTaskStopped": ({'peakgate_background_task_running{task="outbox",worker="0a"}': "1x5 0x15 1x10"}, 15, 25),
    "PeakgateStoreAway": ({'peakgate_breaker_state{dependency="store",state="open"}': "0x5 1x10 0x10"}, 10, 20),
    "PeakgateQueueAway": ({"peakgate_outbox_oldest_seconds": "0x5 90x10 0x10"}, 10, 20),
    "PeakgatePaymentAway": ({'peakgate_breaker_state{dependency="payment",state="closed"}': "1x5 0x10 1x10"}, 10, 20),
    "PeakgateArchiveBehind": ({'peakgate_events_oldest_seconds{sink="archive"}': "0x5 400x15 0x10"}, 15, 25),
    "PeakgateWebhooksLate": ({'peakgate_webhook_oldest_due_seconds{endpoint="erp"}': "0x5 2000x15 0x10"}, 15, 25),
    "PeakgateWebhookDisabled": (
        {'peakgate_webhook_endpoint_disabled{endpoint="erp",reason="failing"}': "0x5 1x15 0x10"},
        15,
        25,
    ),
    "PeakgateEventsBehind": ({'peakgate_events_oldest_seconds{sink="sns"}': "0x5 400x15 0x10"}, 15, 25),
    "PeakgateDeadLetters": ({"peakgate_dead_letters": "0x5 2x15 0x10"}, 15, 25),
    "PeakgateConfigurationRejected": ({'peakgate_last_reload_rejected{instance="a"}': "0x5 1x10 0x10"}, 10, 20),
    "PeakgatePoliciesDiffer": (
        {
            'peakgate_policies_info{digest="a",worker="0a"}': "1x40",
            'peakgate_policies_info{digest="b",worker="1a"}': "_x5 1x15 _x20",
        },
        15,
        35,
    ),
    "PeakgateAuditStopped": ({"peakgate_audit_ended_timestamp_seconds": "0x150 9000x20"}, 140, 160),
    # 2 % of checkouts fail: 20 times the budget.
    "PeakgateCheckoutsFail": (
        {CHECKOUT % "202": "0+980x60 58800+1000x60", CHECKOUT % "503": "0+20x60 1200x60"},
        30,
        100,
    ),
    # 30 % of the reads are slow.
    "PeakgateCartReadsSlow": (
        {
            CART % ("count", ""): "0+1000x120",
            CART % ("bucket", ',le="0.1"'): "0+700x60 42000+1000x60",
        },
        30,
        100,
    ),
    "PeakgateOrdersLate": (
        {ORDERS % "count": "0+100x120", ORDERS % 'bucket{le="300"}': "0+70x60 4200+100x60"},
        30,
        100,
    ),
}


def alerts() -> Iterator[dict[str, Any]]:
    for path in sorted(RULES.glob("*.yaml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            yield from (rule for rule in group["rules"] if "alert" in rule)


def states(alert: str, *, fires_at: int, ended_at: int) -> list[dict[str, Any]]:
    query = f'count(ALERTS{{alertname="{alert}",alertstate="firing",severity="%s"}}) or vector(0)'
    severity = next(each["labels"]["severity"] for each in alerts() if each["alert"] == alert)
    return [
        {"expr": query % severity, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": value}]}
        for minute, value in ((0, 0), (fires_at, 1), (ended_at, 0))
    ]


def played(tmp_path: Path, series: dict[str, str], expected: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    test = {
        "rule_files": [str(path) for path in sorted(RULES.glob("*.yaml"))],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": expected,
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(test), encoding="utf-8")
    return promtool("test", "rules", str(path))


@pytest.mark.parametrize("alert", CASES)
def test_it_fires_and_ends(alert: str, tmp_path: Path) -> None:
    series, fires_at, ended_at = CASES[alert]
    result = played(tmp_path, series, states(alert, fires_at=fires_at, ended_at=ended_at))
    assert result.returncode == 0, result.stdout + result.stderr


def test_places_in_a_waiting_room_are_no_failures(tmp_path: Path) -> None:
    problems = 'peakgate_problems_total{route="/v1/checkout",method="POST",problem="%s"}'
    series = {
        CHECKOUT % "202": "0+500x60",
        CHECKOUT % "503": "0+500x60",
        problems % "waiting-room": "0+400x60",
        problems % "disabled": "0+100x60",
    }
    calm = [each for each in states("PeakgateCheckoutsFail", fires_at=30, ended_at=50) if each["eval_time"] != "30m"]
    result = played(tmp_path, series, calm)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_single_failure_at_night_wakes_nobody(tmp_path: Path) -> None:
    series = {CHECKOUT % "202": "0x10 1+0.1x60", CHECKOUT % "503": "0x10 1x60"}
    calm = [each for each in states("PeakgateCheckoutsFail", fires_at=15, ended_at=12) if each["eval_time"] != "15m"]
    result = played(tmp_path, series, calm)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_is_played() -> None:
    assert {each["alert"] for each in alerts()} == set(CASES)


@pytest.mark.parametrize("alert", list(alerts()), ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_it_has_a_severity_a_sentence_and_a_runbook(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert len(alert["annotations"]["summary"].split()) >= 5
    found = re.fullmatch(r"\{\{ \$externalLabels\.docs }}/runbooks/([a-z-]+)/", alert["annotations"]["runbook_url"])
    assert found is not None
    assert (DEPLOY.parent / "docs" / "runbooks" / f"{found[1]}.md").exists()


def test_the_rules_are_valid() -> None:
    result = promtool("check", "rules", *map(str, sorted(RULES.glob("*.yaml"))))
    assert result.returncode == 0, result.stdout + result.stderr
