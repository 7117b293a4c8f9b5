"""Whether a target is asked at all: what its answers tell, and what it says when it is asked how it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

IN: Final = "in"
EJECTED: Final = "ejected"
UNHEALTHY: Final = "unhealthy"


class TargetHealth:
    """The state of one target. `since` is wall-clock time, `reason` what was last held against it.

    Passive: so many failures in a row eject it for a while; after that one more failure ejects it again, and one success
    makes good for all. Active: checks take it out and back in after so many results of the other kind in a row.
    """

    __slots__ = ("_clock", "_contrary", "_ejected_until", "_failures", "_now", "_on_change", "_out", "reason", "since")

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
        # Taken out by checks, and how many results in a row have spoken against the present state.
        self._out = False
        self._contrary = 0
        self.reason = ""
        self.since = now()

    @property
    def state(self) -> str:
        """`IN`, `EJECTED` or `UNHEALTHY`."""
        if self._out:
            return UNHEALTHY
        return EJECTED if self._clock() < self._ejected_until else IN

    @property
    def is_in(self) -> bool:
        """Whether it should be asked."""
        return not self._out and (not self._ejected_until or self._clock() >= self._ejected_until)

    def succeeded(self) -> None:
        """It has served a request."""
        if self._failures:
            self._failures = 0
            if self._ejected_until:
                self._ejected_until = 0.0
                self._change("")

    def failed(self, reason: str, *, most: int, eject_s: float) -> None:
        """It has not; `most` such in a row eject it for `eject_s` seconds."""
        self._failures += 1
        if self._failures >= most and self._clock() >= self._ejected_until:
            self._ejected_until = self._clock() + eject_s
            self._change(reason)

    def checked(self, fault: str | None, *, healthy_after: int, unhealthy_after: int) -> None:
        """It was asked how it is; `fault` says what was wrong."""
        if (fault is None) != self._out:
            self._contrary = 0
            return
        self._contrary += 1
        if self._contrary < (healthy_after if self._out else unhealthy_after):
            return
        self._contrary = 0
        self._out = not self._out
        # What was held against it before the check found it well is forgotten.
        self._failures = 0
        self._ejected_until = 0.0
        self._change(fault or "")

    def unchecked(self) -> None:
        """It is not asked any more: what checks said has no end by itself."""
        self._contrary = 0
        if self._out:
            self._out = False
            self._change("")

    def _change(self, reason: str) -> None:
        self.reason = reason
        self.since = self._now()
        self._on_change(self)
