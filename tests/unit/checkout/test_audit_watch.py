"""The audit that runs by itself: one process at a time, each finding logged once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from checkout.audit.audit import Audit, AuditReport
from checkout.audit.finding import Finding
from checkout.audit.rules import RULES
from checkout.audit.watch import CLAIM_S, MIN_PAUSE_S, OVERLAP_S, AuditWatch
from gateway.admin.audit_stats import AuditStats
from tests.waiting import until


def finding(subject: str, rule: str = "stuck") -> Finding:
    return Finding(rule, "order", subject, "it waits", f"peakgate orders retry {subject}")


class Shop:
    """An audit that finds what the test says, and a claim that the test grants."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.may_audit = True
        self.claims = 0
        self.slept: list[float] = []
        self.now = 0.0
        self.changes: list[tuple[int, list[str]]] = []
        self.full_rounds = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.watch = AuditWatch(
            cast("Audit", self),
            may_audit=self.claim,
            every_s=60.0,
            full_every_s=3600.0,
            clock=lambda: 1_000.0,
            monotonic=lambda: self.now,
            sleep=self.sleep,
        )

    async def run(self, *_progress: Any) -> AuditReport:
        await self.goes_on.wait()
        self.full_rounds += 1
        return self.report()

    async def run_changes(self, since_ms: int, known: Sequence[Finding]) -> AuditReport:
        await self.goes_on.wait()
        self.changes.append((since_ms, [each.subject for each in known]))
        return self.report()

    def report(self) -> AuditReport:
        return AuditReport(7, findings=tuple(self.findings), began_ms=round(self.now * 1000) + 100_000)

    async def claim(self) -> bool:
        self.claims += 1
        return self.may_audit

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


async def test_a_round_is_shown_with_every_rule() -> None:
    shop = Shop()
    stats = AuditStats(shop.watch)
    assert (stats.snapshot(), list(stats.metrics())) == ({}, [])
    shop.findings = [finding("a"), finding("b"), finding("c", "money")]
    await shop.watch.audit()
    assert stats.snapshot() == {
        "ended_at": 1_000.0,
        "orders": 7,
        "is_full": True,
        "findings": {"stuck": 2, "money": 1},
    }
    findings, orders, ended = stats.metrics()
    by_rule = {sample.labels["rule"]: sample.value for sample in findings.samples}
    assert by_rule == {**dict.fromkeys(RULES, 0.0), "stuck": 2.0, "money": 1.0}
    assert (orders.samples[0].value, ended.samples[0].value) == (7.0, 1_000.0)


async def test_rounds_look_at_what_changed_and_now_and_then_at_everything() -> None:
    shop = Shop()
    await shop.watch.audit()
    shop.findings = [finding("a")]
    shop.now += 60.0
    await shop.watch.audit()
    shop.now += 60.0
    await shop.watch.audit()
    overlap_ms = round(OVERLAP_S * 1000)
    assert shop.full_rounds == 1
    assert shop.changes == [(100_000 - overlap_ms, []), (160_000 - overlap_ms, ["a"])]
    shop.now += 3600.0
    await shop.watch.audit()
    assert (shop.full_rounds, len(shop.changes)) == (2, 2)
    shop.may_audit = False
    await shop.watch.audit()
    shop.may_audit = True
    await shop.watch.audit()
    assert (shop.full_rounds, len(shop.changes)) == (3, 2), "another process may have audited meanwhile"


async def test_a_round_begins_an_interval_after_the_one_before_began() -> None:
    shop = Shop()

    async def long_round() -> bool:
        shop.now += 45.0 if shop.watch.rounds < 2 else 600.0
        return True

    shop.watch._may_audit = long_round
    running = asyncio.create_task(shop.watch.run())
    await until(lambda: shop.watch.rounds >= 4)
    running.cancel()
    await asyncio.wait([running])
    pauses = [each for each in shop.slept if each != CLAIM_S]
    assert pauses[:4] == [60.0, 15.0, 15.0, MIN_PAUSE_S]


async def test_a_process_that_may_not_audit_shows_nothing() -> None:
    shop = Shop()
    await shop.watch.audit()
    shop.may_audit = False
    await shop.watch.audit()
    assert (shop.watch.latest, shop.watch.rounds) == (None, 1)


async def test_the_claim_is_kept_while_a_long_round_runs() -> None:
    shop = Shop()
    shop.goes_on.clear()
    auditing = asyncio.create_task(shop.watch.audit())
    await until(lambda: shop.claims > 3)
    shop.goes_on.set()
    await auditing
    claims = shop.claims
    await asyncio.sleep(0)
    assert shop.claims == claims


async def test_a_finding_is_logged_once_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop()
    shop.findings = [finding("a")]
    await shop.watch.audit()
    await shop.watch.audit()
    shop.findings = [finding("a"), finding("b")]
    await shop.watch.audit()
    shop.findings = []
    await shop.watch.audit()
    shop.findings = [finding("a")]
    await shop.watch.audit()
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"audit finding: stuck: {subject}: it waits; remedy: peakgate orders retry {subject}"
        for subject in ("a", "b", "a")
    ]


async def test_many_findings_are_counted_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop()
    shop.findings = [finding(str(number)) for number in range(25)]
    await shop.watch.audit()
    assert len(caplog.records) == 11
    assert "15 more audit findings; run `peakgate audit` to list them" in caplog.text


async def test_rounds_go_on_after_one_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop()
    failures = iter([OSError("the store is away")])

    async def fail_once() -> bool:
        if (error := next(failures, None)) is not None:
            raise error
        return True

    shop.watch._may_audit = fail_once
    running = asyncio.create_task(shop.watch.run())
    await until(lambda: shop.watch.rounds >= 2)
    running.cancel()
    await asyncio.wait([running])
    assert shop.slept[0] == 60.0
    assert "the audit failed; the next round tries again" in caplog.text
