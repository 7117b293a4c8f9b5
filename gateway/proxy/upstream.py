"""An active upstream: its targets with their health checks, its retry budget and its counts."""

from __future__ import annotations

import logging
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gateway.config.policies import Upstream
from gateway.http.head_limits import DEFAULT_HEAD_LIMITS, HeadLimits
from gateway.proxy.address import Address
from gateway.proxy.health import HEALTHY, TargetHealth
from gateway.proxy.health_checks import check_repeatedly
from gateway.proxy.target import Target
from gateway.proxy.target_choice import choose
from gateway.resilience.retry_budget import RetryBudget
from primitives.background import BackgroundTask

_log = logging.getLogger("peakgate")


class ActiveUpstream:
    """Servers that serve the same. It outlives a reload (`update`), with its connections."""

    def __init__(
        self,
        table: Upstream,
        *,
        tls: ssl.SSLContext,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        limits: HeadLimits = DEFAULT_HEAD_LIMITS,
    ) -> None:
        self.name = table.name
        self.budget = RetryBudget(clock=clock)
        self.targets: list[Target] = []
        # Requests by outcome (`2xx`, ..., or that of an `UpstreamFault`), and retries by kind.
        self.outcomes: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self._tls = tls
        self._clock = clock
        self._now = now
        self._chance = chance
        self._limits = limits
        # Supervised: a check that raises is restarted.
        self._checks: dict[Target, BackgroundTask] = {}
        self._ended_checks: list[BackgroundTask] = []
        self._retired: list[Target] = []
        self.update(table)

    def update(self, table: Upstream) -> None:
        """Apply another table: targets that stay keep their connections and health, others get no more requests."""
        self.table = table
        old = {target.address.url: target for target in self.targets}
        self.targets = [self._target(url, old.pop(url, None)) for url in dict.fromkeys(table.targets)]
        for target in old.values():
            target.pool.retire()
        self._retired = [target for target in [*self._retired, *old.values()] if target.outstanding]
        self._end_checks()
        check = table.health
        for target in self.targets:
            if check is None:
                target.health.unchecked()
            else:
                name = f"health checks of {target.address.url}"
                run = partial(check_repeatedly, target, check, chance=self._chance)
                self._checks[target] = BackgroundTask(name, run)

    def _target(self, url: str, target: Target | None) -> Target:
        if target is not None:
            target.configure(self.table)
            return target
        health = TargetHealth(clock=self._clock, now=self._now, on_change=lambda health: self._log_change(url, health))
        return Target(Address.parse(url), health, self.table, tls=self._tls, limits=self._limits)

    def _log_change(self, url: str, health: TargetHealth) -> None:
        reason = f": {health.reason}" if health.reason else ""
        _log.warning("upstream %s: %s is %s%s", self.name, url, health.state, reason)

    def choose(self, avoiding: Target | None = None) -> Target:
        """The target of the next request; not `avoiding` if there is another."""
        targets = self.targets
        return targets[0] if len(targets) == 1 else choose(targets, self._chance(), avoiding)

    # Status

    @property
    def is_busy(self) -> bool:
        """Whether requests are in progress."""
        return any(target.outstanding for target in self.targets)

    @property
    def fault(self) -> str | None:
        """Why no target is available; None while one is."""
        states = [(target, target.health.state) for target in self.targets]
        if any(state == HEALTHY for _, state in states):
            return None
        return "; ".join(f"{target.address.url} is {state}: {target.health.reason}" for target, state in states)

    def snapshot(self) -> Mapping[str, Any]:
        """See `Observed`."""
        return {
            "requests": dict(self.outcomes),
            "retries": dict(self.retries),
            "retry_budget_left": round(self.budget.remaining, 1),
            "targets": [self._snapshot_of(target) for target in self.targets],
        }

    def _snapshot_of(self, target: Target) -> Mapping[str, Any]:
        check = self._checks.get(target)
        return {
            "url": target.address.url,
            "state": target.health.state,
            "since": target.health.since,
            "reason": target.health.reason,
            "outstanding": target.outstanding,
            "idle_connections": target.pool.idle,
            "truncated_streams": target.truncated_streams,
            "check_restarts": check.state.restarts if check is not None else 0,
        }

    @property
    def failing_checks(self) -> Mapping[str, str]:
        """The errors of health checks that have died and wait for their restart, by target."""
        failing: dict[str, str] = {}
        for target, check in self._checks.items():
            state = check.state
            if not state.is_running and state.last_error is not None:
                failing[target.address.url] = state.last_error
        return failing

    # The end

    def _end_checks(self) -> None:
        self._ended_checks = [check for check in self._ended_checks if check.state.is_running]
        for check in self._checks.values():
            check.cancel()
            self._ended_checks.append(check)
        self._checks = {}

    def retire(self) -> None:
        """It was removed from the policies: it gets no more requests, those in progress are served."""
        self._end_checks()
        for target in self.targets:
            target.pool.retire()

    async def close(self) -> None:
        """Close everything now; requests in progress fail."""
        self.retire()
        for target in [*self.targets, *self._retired]:
            target.pool.close()
        for check in self._ended_checks:
            await check.close()
