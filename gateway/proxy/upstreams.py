"""All active upstreams of a worker by name, and their metrics."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gateway.config.policies import Upstream
from gateway.http.head_limits import DEFAULT_HEAD_LIMITS, HeadLimits
from gateway.metrics import Metric, Sample
from gateway.proxy.address import Address
from gateway.proxy.upstream import ActiveUpstream


class Upstreams:
    """`update` them when policies change: targets that stay keep their connections and health."""

    def __init__(
        self,
        tables: Iterable[Upstream] = (),
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        limits: HeadLimits = DEFAULT_HEAD_LIMITS,
    ) -> None:
        # Made once: it reads the system's certificates, or those that SSL_CERT_FILE names.
        self._tls = tls or ssl.create_default_context()
        self._clock = clock
        self._now = now
        self._chance = chance
        self._limits = limits
        self._active: dict[str, ActiveUpstream] = {}
        self._retired: list[ActiveUpstream] = []
        self.update(tables)

    def update(self, tables: Iterable[Upstream]) -> None:
        """Apply these tables. Raises `ValueError` for an invalid address, before anything changes."""
        tables = tuple(tables)
        for url in (url for table in tables for url in table.targets):
            Address.parse(url)
        old = self._active
        self._active = {}
        for table in tables:
            upstream = old.pop(table.name, None)
            if upstream is None:
                upstream = ActiveUpstream(
                    table, tls=self._tls, clock=self._clock, now=self._now, chance=self._chance, limits=self._limits
                )
            else:
                upstream.update(table)
            self._active[table.name] = upstream
        for upstream in old.values():
            upstream.retire()
        self._retired = [upstream for upstream in [*self._retired, *old.values()] if upstream.is_busy]

    def __getitem__(self, name: str) -> ActiveUpstream:
        """The upstream of that name; raises `KeyError`."""
        return self._active[name]

    def __iter__(self) -> Iterator[ActiveUpstream]:
        return iter(self._active.values())

    async def check(self) -> None:
        """Raise `NoTargetAvailable` if an upstream has no available target, or a health check that has died."""
        faults = {upstream.name: fault for upstream in self if (fault := upstream.fault) is not None}
        for upstream in self:
            for url, error in upstream.failing_checks.items():
                faults.setdefault(upstream.name, f"the health check of {url} has died: {error}")
        if faults:
            raise NoTargetAvailable(faults)

    async def close(self) -> None:
        """Close everything now; requests in progress fail."""
        for upstream in [*self._active.values(), *self._retired]:
            await upstream.close()

    def snapshot(self) -> Mapping[str, Any]:
        """See `Observed`."""
        return {upstream.name: upstream.snapshot() for upstream in self}

    def metrics(self) -> Iterable[Metric]:
        """See `Observed`."""
        upstreams = [*self]
        targets = [
            ({"upstream": upstream.name, "target": target.address.url}, target)
            for upstream in upstreams
            for target in upstream.targets
        ]
        return (
            Metric(
                "peakgate_upstream_requests_total",
                "Requests to an upstream, by outcome.",
                "counter",
                [
                    Sample({"upstream": upstream.name, "outcome": outcome}, count)
                    for upstream in upstreams
                    for outcome, count in upstream.outcomes.items()
                ],
            ),
            Metric(
                "peakgate_upstream_retries_total",
                "Retries: budgeted, free, or denied.",
                "counter",
                [
                    Sample({"upstream": upstream.name, "kind": kind}, count)
                    for upstream in upstreams
                    for kind, count in upstream.retries.items()
                ],
            ),
            Metric(
                "peakgate_upstream_retry_budget",
                "Retries that the budget allows now.",
                "gauge",
                [Sample({"upstream": upstream.name}, upstream.budget.remaining) for upstream in upstreams],
            ),
            Metric(
                "peakgate_upstream_outstanding",
                "Requests in progress.",
                "gauge",
                [Sample(labels, target.outstanding) for labels, target in targets],
            ),
            Metric(
                "peakgate_upstream_idle_connections",
                "Idle connections.",
                "gauge",
                [Sample(labels, target.pool.idle) for labels, target in targets],
            ),
            Metric(
                "peakgate_upstream_truncated_streams_total",
                "Streamed responses that ended too early.",
                "counter",
                [Sample(labels, target.truncated_streams) for labels, target in targets],
            ),
            Metric(
                "peakgate_upstream_target_available",
                "1 if requests are sent to a target, 0 while it is ejected or unhealthy.",
                "gauge",
                [Sample(labels, float(target.health.is_available)) for labels, target in targets],
            ),
        )


class NoTargetAvailable(Exception):
    """Upstreams without an available target, and why."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        # Shown to clients of the readiness probe; the addresses of targets are for operators alone.
        super().__init__(f"no target is available: {', '.join(faults)}")
        self.faults = faults
