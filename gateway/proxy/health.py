"""Health of a target: passive, by its responses to requests, and active, by health checks. Pure but for its clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

HEALTHY: Final = "healthy"
EJECTED: Final = "ejected"
UNHEALTHY: Final = "unhealthy"


class TargetHealth:
    """`since` is the wall-clock time of the last change, `reason` the failure that caused it.

    Passive: a number of failures in a row ejects the target for a while. After that one more failure ejects it again, and
    one success resets the count. Active: a number of contrary results of checks in a row changes the state.
    """

    __slots__ = (
        "_clock",
        "_contrary_checks",
        "_ejected_until",
        "_failures",
        "_is_unhealthy",
        "_now",
        "_on_change",
        "reason",
        "since",
    )

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        on_change: Callable[[TargetHealth], None] = lambda _health: None,
    ) -> None:
        self._clock = clock
        self._now = now
        self._on_change = on_change
        self._failures = 0
        self._ejected_until = 0.0
        self._is_unhealthy = False
        # Results of checks in a row that contradict the present state.
        self._contrary_checks = 0
        self.reason = ""
        self.since = now()

    @property
    def state(self) -> str:
        """`HEALTHY`, `EJECTED` or `UNHEALTHY`."""
        if self._is_unhealthy:
            return UNHEALTHY
        return EJECTED if self._clock() < self._ejected_until else HEALTHY

    @property
    def is_available(self) -> bool:
        """Whether requests should be sent to it."""
        return not self._is_unhealthy and (not self._ejected_until or self._clock() >= self._ejected_until)

    def succeeded(self) -> None:
        """Count a request that was served."""
        if self._failures:
            self._failures = 0
            if self._ejected_until:
                self._ejected_until = 0.0
                self._change("")

    def failed(self, reason: str, *, failures_to_eject: int, eject_s: float) -> None:
        """Count a request that was not served; so many in a row eject it for `eject_s` seconds."""
        self._failures += 1
        if self._failures >= failures_to_eject and self._clock() >= self._ejected_until:
            self._ejected_until = self._clock() + eject_s
            self._change(reason)

    def checked(self, fault: str | None, *, healthy_threshold: int, unhealthy_threshold: int) -> None:
        """Count the result of a health check; `fault` is its failure, None for success."""
        if (fault is None) != self._is_unhealthy:
            self._contrary_checks = 0
            return
        self._contrary_checks += 1
        if self._contrary_checks < (healthy_threshold if self._is_unhealthy else unhealthy_threshold):
            return
        self._contrary_checks = 0
        self._is_unhealthy = not self._is_unhealthy
        # Earlier failures of requests do not count after the change.
        self._failures = 0
        self._ejected_until = 0.0
        self._change(fault or "")

    def unchecked(self) -> None:
        """Health checks have ended, so an unhealthy state would have no end."""
        self._contrary_checks = 0
        if self._is_unhealthy:
            self._is_unhealthy = False
            self._change("")

    def _change(self, reason: str) -> None:
        self.reason = reason
        self.since = self._now()
        self._on_change(self)
