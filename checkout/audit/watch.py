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

# Records a second: a few percent of a core.
RATE: Final = 200.0
# How often a process that audits says that it still does.
CLAIM_S: Final = 10.0
# Findings that are logged by name; the command names all.
MAX_LINES: Final = 10

_log = logging.getLogger("peakgate")


class AuditRound(msgspec.Struct, frozen=True):
    """A round that has ended at `ended_at`, Unix seconds."""

    report: AuditReport
    ended_at: float


class AuditWatch:
    """Audits the books, `every_s` after it did last, in one process at a time: `may_audit` says whether in this one.

    `latest` is None in the others, and before the first round. A finding is logged once, for as long as it stands.
    """

    def __init__(
        self,
        audit: Audit,
        *,
        may_audit: Callable[[], Awaitable[bool]],
        every_s: float,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.latest: AuditRound | None = None
        self.rounds = 0
        self._audit = audit
        self._may_audit = may_audit
        self._every_s = every_s
        self._clock = clock
        self._sleep = sleep

    async def run(self) -> None:
        """Audit until cancelled. The first round begins after an interval too: at a start there is other work."""
        while True:
            await self._sleep(self._every_s)
            await try_round("the audit", self.audit)

    async def audit(self) -> None:
        """Audit once. Raises `StoreError`."""
        if not await self._may_audit():
            self.latest = None
            return
        claiming = asyncio.create_task(self._keep_claim())
        try:
            report = await self._audit.run()
        finally:
            claiming.cancel()
            await asyncio.wait([claiming])
        self._tell(report.findings)
        self.latest = AuditRound(report, self._clock())
        self.rounds += 1

    async def _keep_claim(self) -> None:
        while True:
            await self._sleep(CLAIM_S)
            await try_round("keeping the audit in this process", self._may_audit)

    def _tell(self, findings: Sequence[Finding]) -> None:
        before = () if self.latest is None else self.latest.report.findings
        new = [each for each in findings if each.identity not in {other.identity for other in before}]
        for each in new[:MAX_LINES]:
            _log.error(
                "the books do not agree: %s: %s: %s; to do: %s", each.rule, each.subject, each.detail, each.remedy
            )
        if len(new) > MAX_LINES:
            _log.error("the books do not agree in %d more places: see `peakgate audit`", len(new) - MAX_LINES)
