"""The audit that runs by itself, in one process of the shop, for metrics and the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from checkout.audit.audit import Audit, AuditReport
from checkout.audit.finding import Finding
from primitives.rounds import try_round

# A round of changes begins so long before the last round did: the clocks of a cluster's servers differ.
OVERLAP_S: Final = 5.0
# Between two rounds, also where the last took longer than the interval.
MIN_PAUSE_S: Final = 1.0
# How often a process that audits says that it still does.
CLAIM_S: Final = 10.0
# Findings that are logged by name; the command names all.
MAX_LINES: Final = 10

_log = logging.getLogger("peakgate")


class AuditRound(msgspec.Struct, frozen=True):
    """A round that has ended at `ended_at`, Unix seconds."""

    report: AuditReport
    ended_at: float
    is_full: bool


class AuditWatch:
    """Begins a round of the audit every `every_s`, in one process at a time: `may_audit` says whether in this one.

    A round reads the changes since the last one began, and every `full_every_s` all books. `latest` is None in the other
    processes, and before the first round. A finding is logged once, for as long as it stands.
    """

    def __init__(
        self,
        audit: Audit,
        *,
        may_audit: Callable[[], Awaitable[bool]],
        every_s: float,
        full_every_s: float,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.latest: AuditRound | None = None
        self.rounds = 0
        self._audit = audit
        self._may_audit = may_audit
        self._every_s = every_s
        self._full_every_s = full_every_s
        self._next_full_at = 0.0
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep

    async def run(self) -> None:
        """Audit until cancelled. The first round begins after an interval too: at a start there is other work."""
        pause_s = self._every_s
        while True:
            await self._sleep(pause_s)
            began = self._monotonic()
            await try_round("the audit", self.audit)
            pause_s = max(MIN_PAUSE_S, self._every_s - (self._monotonic() - began))

    async def audit(self) -> None:
        """Audit once. Raises `StoreError`."""
        if not await self._may_audit():
            self.latest = None
            return
        claiming = asyncio.create_task(self._keep_claim())
        try:
            latest = await self._round()
        finally:
            claiming.cancel()
            await asyncio.wait([claiming])
        self._log_new(latest.report.findings)
        self.latest = latest
        self.rounds += 1

    async def _round(self) -> AuditRound:
        before, began = self.latest, self._monotonic()
        if before is None or began >= self._next_full_at:
            report = await self._audit.run()
            self._next_full_at = began + self._full_every_s
            return AuditRound(report, self._clock(), is_full=True)
        since_ms = before.report.began_ms - round(OVERLAP_S * 1000)
        report = await self._audit.run_changes(since_ms, before.report.findings)
        return AuditRound(report, self._clock(), is_full=False)

    async def _keep_claim(self) -> None:
        while True:
            await self._sleep(CLAIM_S)
            await try_round("keeping the audit in this process", self._may_audit)

    def _log_new(self, findings: Sequence[Finding]) -> None:
        before = set() if self.latest is None else {each.identity for each in self.latest.report.findings}
        new = [each for each in findings if each.identity not in before]
        for each in new[:MAX_LINES]:
            _log.error("audit finding: %s: %s: %s; remedy: %s", each.rule, each.subject, each.detail, each.remedy)
        if len(new) > MAX_LINES:
            _log.error("%d more audit findings; run `peakgate audit` to list them", len(new) - MAX_LINES)
