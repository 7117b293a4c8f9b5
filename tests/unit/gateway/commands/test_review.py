"""The review of a day: counted from the logs, and written as one page that needs nothing else."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.admin.acts.audit_log import AuditLog
from gateway.commands.review import write_review
from gateway.commands.review_figures import AccessLine, Figures, RouteFigures, read_access_logs
from gateway.commands.review_page import Price
from gateway.config.policies import AccessLog

START = datetime(2026, 11, 27, 9, tzinfo=UTC)
END = START + timedelta(hours=1)
# Every line is there.
ALL = AccessLog(ok_sample_rate=1.0, rejected_sample_rate=1.0, client_error_sample_rate=1.0)


def access(minute: int, route: str, status: int, **more: object) -> str:
    at = (START + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")
    method = "GET" if route.startswith("/v1/products") else "POST"
    return json.dumps({"time": at, "method": method, "route": route, "status": status, "duration_ms": 2.0, **more})


LINES = [
    access(-1, "/v1/carts", 201),
    access(0, "/v1/carts", 201),
    access(1, "/v1/checkout", 202),
    access(1, "/v1/checkout", 202),
    access(2, "/v1/checkout", 409, problem="/problems/out-of-stock"),
    access(2, "/v1/checkout", 503, problem="/problems/dependency-unavailable"),
    access(3, "/v1/products", 429, problem="/problems/quota-exceeded"),
    access(60, "/v1/products", 200),
    "2026-11-27T09:00:00.000Z WARNING peakgate[1]: the store is away",
    '{"time":"2026-11-27T09:00:00.000Z","level":"error","message":"a log line"}',
]


def figures_of(folder: Path, *lines: str) -> Figures:
    path = folder / "access.log"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    figures = Figures(START, END, ALL)
    read_access_logs(figures, [path])
    return figures


def test_requests_orders_carts_and_refusals_are_counted_within_the_time(tmp_path: Path) -> None:
    figures = figures_of(tmp_path, *LINES)
    assert (figures.requests, figures.orders, figures.carts) == (6, 2, 1)
    assert (figures.outside, figures.unread) == (2, 2)
    assert figures.classes == {"2xx": 3, "4xx": 2, "5xx": 1}
    assert figures.problems == {"out-of-stock": 1, "dependency-unavailable": 1, "quota-exceeded": 1}
    assert figures.denied == {(429, "GET /v1/products"): 1}
    assert figures.orders_by_minute[1] == 2
    assert figures.failed_by_minute[2] == 1
    assert figures.routes["POST /v1/checkout"].failed == 1


def test_a_sampled_line_counts_for_those_that_were_left_out_and_a_slow_one_for_itself() -> None:
    figures = Figures(START, END, AccessLog(ok_sample_rate=0.01, client_error_sample_rate=0.1))
    for status, duration_ms in ((200, 2.0), (404, 2.0), (500, 2.0), (200, 1500.0)):
        figures.add(AccessLine(time=START, route="/", method="GET", status=status, duration_ms=duration_ms))
    assert figures.classes == {"2xx": 101, "4xx": 10, "5xx": 1}
    assert figures.lines == 4


def test_a_packed_log_is_read_as_a_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "access.log.gz"
    path.write_bytes(gzip.compress("\n".join(LINES).encode()))
    figures = Figures(START, END, ALL)
    read_access_logs(figures, [path])
    assert figures.requests == 6


def test_quantiles_are_at_most_a_tenth_too_high() -> None:
    route = RouteFigures()
    for number in range(1, 101):
        route.add(AccessLine(time=START, route="/", method="GET", status=200, duration_ms=float(number)), 1.0)
    for share in (0.5, 0.95, 0.99):
        assert 100 * share <= route.quantile_ms(share) <= 110 * share


def test_the_page_has_the_four_parts_and_needs_nothing_else(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("\n".join(LINES), encoding="utf-8")
    acts = AuditLog(tmp_path / "acts.jsonl")
    at = START.timestamp() + 60
    acts.append(at=at, who="<b>ada</b>", act="switches/search", arguments={"enabled": False})
    acts.append(at=at, who="eve", act="reload", status=403)
    acts.append(at=at - 86_400, who="yesterday", act="reload")
    output = tmp_path / "review.html"
    told: list[str] = []

    code = write_review(
        START,
        END,
        access_logs=[log],
        log=ALL,
        acts=tmp_path / "acts.jsonl",
        price=Price(4.2, "USD"),
        output=output,
        say=told.append,
    )

    page = output.read_text(encoding="utf-8")
    assert code == 0
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["Performance", "Cost", "Security", "Decisions"]
    assert "&lt;b&gt;ada&lt;/b&gt;" in page
    assert "<b>ada" not in page
    assert "switches/search" in page
    assert "yesterday" not in page
    assert "2.1000 USD" in page
    assert not re.search(r"(?:src|href)=", page)
    assert told[-1] == f"written to {output}"


@pytest.mark.parametrize("content", [None, b"\x1f\x8b broken"], ids=["missing", "broken"])
def test_a_log_that_cannot_be_read_is_said(tmp_path: Path, content: bytes | None) -> None:
    log = tmp_path / "access.log.gz"
    if content is not None:
        log.write_bytes(content)
    told: list[str] = []
    code = write_review(
        START,
        END,
        access_logs=[log],
        log=ALL,
        acts=tmp_path / "none",
        price=None,
        output=tmp_path / "review.html",
        say=told.append,
    )
    assert code == 66
    assert told[0].startswith("a log cannot be read")


def test_a_time_without_requests_has_a_page(tmp_path: Path) -> None:
    output = tmp_path / "review.html"
    code = write_review(
        START, END, access_logs=[], log=ALL, acts=tmp_path / "none", price=None, output=output, say=lambda _: None
    )
    assert code == 0
    assert "No operator changed anything" in output.read_text(encoding="utf-8")
