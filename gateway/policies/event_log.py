"""Log when an event of the file begins and ends: once for a gateway, by its control process."""

from __future__ import annotations

import logging
from datetime import datetime

from gateway.config.policies import Policies

_log = logging.getLogger("peakgate")


class EventLog:
    """Compares the events that run with those of the last `update`."""

    def __init__(self) -> None:
        self._running: set[str] = set()

    def update(self, policies: Policies, at: datetime) -> None:
        """Log what has begun and ended until this moment, which has a time zone."""
        running = {event.name: event for event in policies.events if event.start <= at < event.end}
        for name in sorted(self._running - running.keys()):
            _log.info("the event %s has ended; its changes of limits, rooms and switches are reverted", name)
        for name in sorted(running.keys() - self._running):
            _log.info("the event %s has begun; it ends at %s", name, running[name].end.isoformat())
        self._running = set(running)
