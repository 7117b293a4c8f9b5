"""An outage of the store: since when, why, and the probes that end it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

_log = logging.getLogger("peakgate")

MIN_PROBE_S: Final = 0.1
MAX_PROBE_S: Final = 1.0


class Outage:
    """While `since` is a time, this process decides by itself. Each failure is followed by a probe after a random delay."""

    def __init__(
        self,
        send_probe: Callable[[], None],
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        rng: Callable[[], float],
    ) -> None:
        self.since: float | None = None
        self.reason = ""
        self._send_probe = send_probe
        self._loop = loop
        self._clock = clock
        self._rng = rng
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def seconds(self) -> float | None:
        """How long it has lasted; None without an outage."""
        return None if self.since is None else self._clock() - self.since

    def begin(self, reason: str) -> None:
        """The store has failed, for the first time or again."""
        if self._is_closed:
            return
        if self.since is None:
            self.since, self.reason = self._clock(), reason
            # The watch of the store logs its outage; this is one of the consequences.
            _log.debug("rate limits use the share of this process, because the store fails: %s", reason)
        if self._timer is None:
            wait_s = MIN_PROBE_S + (MAX_PROBE_S - MIN_PROBE_S) * self._rng()
            self._timer = self._loop.call_later(wait_s, self._probe)

    def end(self) -> None:
        """A probe has its reply."""
        if self.since is not None and not self._is_closed:
            _log.debug("rate limits are exact again after %.1f s", self._clock() - self.since)
            self.since = None

    def close(self) -> None:
        """The store is not called again."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self.since is None:
            self.since, self.reason = self._clock(), "closed"

    def _probe(self) -> None:
        self._timer = None
        self._send_probe()
