"""The upstreams of a worker: their targets, who is asked next, and what is known about them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gateway.config.policies import Upstream
from gateway.metrics import Metric, Sample
from gateway.proxy.health import IN, TargetHealth
from gateway.proxy.health_checks import check_for_ever
from gateway.proxy.target import Place, Target
from gateway.resilience.retry_budget import RetryBudget

_log = logging.getLogger("peakgate")


class UpstreamPool:
    """An upstream: servers that serve the same. Lives on when its table changes (`update`), with its connections."""

    def __init__(
        self,
        table: Upstream,
        *,
        tls: ssl.SSLContext,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.name = table.name
        self.budget = RetryBudget(clock=clock)
        self.targets: list[Target] = []
        # Requests by outcome (`2xx`, …, or of an `UpstreamFault`), and retries by how they came about.
        self.outcomes: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self._tls = tls
        self._clock = clock
        self._now = now
        self._rng = rng
        self._checks: dict[Target, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._retired: list[Target] = []
        self.update(table)

    def update(self, table: Upstream) -> None:
        """Take a new table: targets that stay keep their connections and health, others are used no more."""
        self.table = table
        old = {target.place.url: target for target in self.targets}
        self.targets = [self._target(url, old.pop(url, None)) for url in dict.fromkeys(table.targets)]
        for target in old.values():
            target.retire()
        self._retired = [target for target in [*self._retired, *old.values()] if target.outstanding]
        for task in self._checks.values():
            self._end(task)
        self._checks = {}
        for target in self.targets:
            if table.health is not None:
                self._checks[target] = asyncio.get_running_loop().create_task(
                    check_for_ever(target, table.health, rng=self._rng)
                )
            else:
                target.health.unchecked()

    def _target(self, url: str, target: Target | None) -> Target:
        table = self.table
        if target is None:
            return Target(
                Place.of(url),
                TargetHealth(clock=self._clock, now=self._now, on_change=lambda health: self._tell(url, health)),
                max_connections=table.max_connections,
                connect_timeout_s=table.connect_timeout_s,
                failures_to_eject=table.failures_to_eject,
                eject_s=table.eject_s,
                tls=self._tls,
            )
        target.max_connections = table.max_connections
        target.connect_timeout_s = table.connect_timeout_s
        target.failures_to_eject = table.failures_to_eject
        target.eject_s = table.eject_s
        return target

    def _tell(self, url: str, health: TargetHealth) -> None:
        why = f": {health.reason}" if health.reason else ""
        _log.warning("upstream %s: %s is %s%s", self.name, url, health.state, why)

    # Choosing

    def pick(self, avoiding: Target | None = None) -> Target:
        """The target with the fewest requests under way, of equal ones any.

        `avoiding`: not this one if there is another. Where all are out, all are asked: better a doubtful answer than none.
        """
        targets = self.targets
        if len(targets) == 1:
            return targets[0]
        able = [target for target in targets if target.health.is_in]
        if avoiding is not None:
            able = [target for target in able if target is not avoiding] or [
                target for target in targets if target is not avoiding
            ]
        return self._least(able or targets)

    def _least(self, targets: Sequence[Target]) -> Target:
        fewest = min(target.outstanding for target in targets)
        equal = [target for target in targets if target.outstanding == fewest]
        return equal[int(self._rng() * len(equal))]

    # Looking at it

    @property
    def fault(self) -> str | None:
        """Why nothing can be asked of it now; None while at least one target is in."""
        states = [(target, target.health.state) for target in self.targets]
        if any(state == IN for _, state in states):
            return None
        return "; ".join(f"{target.place.url} is {state}: {target.health.reason}" for target, state in states)

    def snapshot(self) -> Mapping[str, Any]:
        """See `Observed`."""
        return {
            "requests": dict(self.outcomes),
            "retries": dict(self.retries),
            "retry_budget_left": round(self.budget.remaining, 1),
            "targets": [
                {
                    "url": target.place.url,
                    "state": target.health.state,
                    "since": target.health.since,
                    "reason": target.health.reason,
                    "outstanding": target.outstanding,
                    "idle_connections": target.idle,
                    "cut_off": target.cut_off,
                }
                for target in self.targets
            ],
        }

    # The end

    def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def retire(self) -> None:
        """It is gone from the file: nothing new is asked, requests under way are served."""
        for task in self._checks.values():
            self._end(task)
        self._checks = {}
        for target in self.targets:
            target.retire()

    async def close(self) -> None:
        """End everything now."""
        self.retire()
        for target in [*self.targets, *self._retired]:
            target.close()
        for task in [*self._ending]:
            with contextlib.suppress(asyncio.CancelledError):
                await task


class Upstreams:
    """All upstreams by name. `update` them when policies change: what has the same name and targets lives on."""

    def __init__(
        self,
        tables: Iterable[Upstream] = (),
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
    ) -> None:
        # Made once: it reads the system's certificates, or those that SSL_CERT_FILE names.
        self._tls = tls or ssl.create_default_context()
        self._options = {"clock": clock, "now": now, "rng": rng}
        self._pools: dict[str, UpstreamPool] = {}
        self._retired: list[UpstreamPool] = []
        self.update(tables)

    def update(self, tables: Iterable[Upstream]) -> None:
        """Be as these tables say from now on. Raises `ValueError` for an address that is none, before anything changes."""
        tables = tuple(tables)
        for url in (url for table in tables for url in table.targets):
            Place.of(url)
        old = self._pools
        self._pools = {}
        for table in tables:
            pool = old.pop(table.name, None)
            if pool is None:
                pool = UpstreamPool(table, tls=self._tls, **self._options)
            else:
                pool.update(table)
            self._pools[table.name] = pool
        for pool in old.values():
            pool.retire()
        self._retired = [pool for pool in [*self._retired, *old.values()] if _is_busy(pool)]

    def __getitem__(self, name: str) -> UpstreamPool:
        """The upstream of that name; raises `KeyError`."""
        return self._pools[name]

    def __iter__(self) -> Iterator[UpstreamPool]:
        return iter(self._pools.values())

    async def check(self) -> None:
        """Raise `NoTargetLeft` when an upstream has no target that could be asked."""
        faults = {pool.name: fault for pool in self if (fault := pool.fault) is not None}
        if faults:
            raise NoTargetLeft(faults)

    async def close(self) -> None:
        """End everything now; requests that are under way fail."""
        for pool in [*self._pools.values(), *self._retired]:
            await pool.close()

    def snapshot(self) -> Mapping[str, Any]:
        """See `Observed`."""
        return {pool.name: pool.snapshot() for pool in self}

    def metrics(self) -> Iterable[Metric]:
        """See `Observed`."""
        pools = [*self]
        targets = [({"upstream": pool.name, "target": each.place.url}, each) for pool in pools for each in pool.targets]
        return (
            Metric(
                "peakgate_upstream_requests_total",
                "Requests by what came of them.",
                "counter",
                _counts(pools, "outcome"),
            ),
            Metric(
                "peakgate_upstream_retries_total",
                "Retries: budgeted, free, or denied.",
                "counter",
                _counts(pools, "kind"),
            ),
            Metric(
                "peakgate_upstream_retry_budget",
                "Retries that could be made now.",
                "gauge",
                [Sample({"upstream": pool.name}, pool.budget.remaining) for pool in pools],
            ),
            Metric(
                "peakgate_upstream_outstanding",
                "Requests under way.",
                "gauge",
                [Sample(labels, target.outstanding) for labels, target in targets],
            ),
            Metric(
                "peakgate_upstream_idle_connections",
                "Connections that wait for a request.",
                "gauge",
                [Sample(labels, target.idle) for labels, target in targets],
            ),
            Metric(
                "peakgate_upstream_cut_off_total",
                "Streamed answers that ended too early.",
                "counter",
                [Sample(labels, target.cut_off) for labels, target in targets],
            ),
            Metric(
                "peakgate_upstream_target_in",
                "Whether a target is asked: 1, or 0 where it is ejected or unhealthy.",
                "gauge",
                [Sample(labels, float(target.health.is_in)) for labels, target in targets],
            ),
        )


class NoTargetLeft(Exception):
    """Upstreams none of whose targets could be asked, and why."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        # Told to whoever asks for our health; where the targets are is for the operator alone.
        super().__init__(f"no target to ask: {', '.join(faults)}")
        self.faults = faults


def _is_busy(pool: UpstreamPool) -> bool:
    return any(target.outstanding for target in pool.targets)


def _counts(pools: Iterable[UpstreamPool], label: str) -> list[Sample]:
    return [
        Sample({"upstream": pool.name, label: kind}, count)
        for pool in pools
        for kind, count in (pool.outcomes if label == "outcome" else pool.retries).items()
    ]
