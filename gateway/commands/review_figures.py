"""The figures of a time, from access logs and the audit log, in memory that depends on its length and not on its traffic."""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from gateway.admin.acts.audit_log import Act, AuditLog
from gateway.config.policies import AccessLog
from gateway.pipeline.access_log import Outcome, outcome_of

# Upper bounds of response times in milliseconds, each a tenth above the last: a quantile is at most a tenth too high.
_FIRST_MS: Final = 0.05
_GROWTH: Final = 1.1
CHECKOUT: Final = "/v1/checkout"
CARTS: Final = "/v1/carts"
_MINUTE_S: Final = 60
# Responses that no attacker and no fault explains: the shop said no, as it should.
DENIED: Final = frozenset({401, 403, 429})


class AccessLine(Struct):
    """The members of an access line that are read; docs/logs.md has them all."""

    time: datetime
    route: str
    method: str
    status: int
    duration_ms: float
    problem: str = ""


class RouteFigures:
    """Responses of a route, and their times."""

    def __init__(self) -> None:
        self.count = 0.0
        self.failed = 0.0
        self._times: defaultdict[int, float] = defaultdict(float)

    def add(self, line: AccessLine, weight: float) -> None:
        """Count a response as so many."""
        self.count += weight
        self.failed += weight if line.status >= 500 else 0.0
        self._times[_bucket(line.duration_ms)] += weight

    def quantile_ms(self, share: float) -> float:
        """The time within which this share of the responses were made."""
        wanted, seen = share * self.count, 0.0
        for bucket, times in sorted(self._times.items()):
            seen += times
            if seen >= wanted:
                return _FIRST_MS * _GROWTH**bucket
        return 0.0


class Figures:
    """All that the review shows of the access logs.

    `log` is the table of the configuration by which lines were sampled: a line counts for those that were left out.
    """

    def __init__(self, start: datetime, end: datetime, log: AccessLog) -> None:
        self.start = start
        self.end = end
        self.routes: defaultdict[str, RouteFigures] = defaultdict(RouteFigures)
        self.classes: defaultdict[str, float] = defaultdict(float)
        self.problems: defaultdict[str, float] = defaultdict(float)
        self.denied: defaultdict[tuple[int, str], float] = defaultdict(float)
        self.orders = 0.0
        self.carts = 0.0
        # Lines within the time, outside it, and lines that are none of an access log.
        self.lines = 0
        self.outside = 0
        self.unread = 0
        self.requests_by_minute = self._minutes()
        self.failed_by_minute = self._minutes()
        self.orders_by_minute = self._minutes()
        self._slow_ms = 1000 * log.slow_s
        self._rates: dict[Outcome, float] = {
            "ok": log.ok_sample_rate,
            "rejected": log.rejected_sample_rate,
            "client_error": log.client_error_sample_rate,
            "server_error": log.server_error_sample_rate,
        }

    @property
    def requests(self) -> float:
        """All requests of the time."""
        return sum(self.classes.values())

    def add(self, line: AccessLine) -> None:
        """Count a line."""
        if not self.start <= line.time < self.end:
            self.outside += 1
            return
        self.lines += 1
        weight, route = self._weight(line), f"{line.method} {line.route}"
        minute = int((line.time - self.start).total_seconds()) // _MINUTE_S
        self.routes[route].add(line, weight)
        self.classes[f"{line.status // 100}xx"] += weight
        self.requests_by_minute[minute] += weight
        if line.status >= 500:
            self.failed_by_minute[minute] += weight
        if line.problem:
            self.problems[line.problem.rpartition("/")[2]] += weight
        if line.status in DENIED:
            self.denied[line.status, route] += weight
        if route == f"POST {CHECKOUT}" and line.status == 202:
            self.orders += weight
            self.orders_by_minute[minute] += weight
        if route == f"POST {CARTS}" and line.status == 201:
            self.carts += weight

    def _weight(self, line: AccessLine) -> float:
        """The requests that a line stands for. Slow ones are all logged."""
        rate = self._rates[outcome_of(line.status)]
        return 1.0 if line.duration_ms >= self._slow_ms or not rate else 1 / rate

    def _minutes(self) -> list[float]:
        return [0.0] * (1 + int((self.end - self.start).total_seconds()) // _MINUTE_S)


def read_access_logs(figures: Figures, paths: Iterable[Path]) -> None:
    """Count the lines of these files, plain or `.gz`. Raises OSError."""
    decoder = msgspec.json.Decoder(AccessLine)
    for path in paths:
        for line in _lines(path):
            # Log lines share the file where both go to one place.
            try:
                figures.add(decoder.decode(line))
            except (msgspec.MsgspecError, TypeError):
                figures.unread += 1


def read_acts(path: Path, start: datetime, end: datetime) -> list[Act]:
    """The acts of the time in an audit log, the oldest first."""
    return [act for act in AuditLog(path).acts if start <= datetime.fromtimestamp(act.at, UTC) < end]


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        yield from (line for line in file if line.strip())


def _bucket(time_ms: float) -> int:
    bucket, bound = 0, _FIRST_MS
    while bound < time_ms:
        bucket, bound = bucket + 1, bound * _GROWTH
    return bucket
