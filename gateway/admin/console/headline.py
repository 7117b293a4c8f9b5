"""The first line of the console: in one sentence what is wrong, since when, and the first thing to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.admin.alerts import Alert

Told = dict[str, Any]
# The first thing to do, by runbook; the page has the rest.
FIRST_ACTS: Final[Mapping[str, str]] = {
    "archive-behind": "Look at the permissions and the throughput of the archive; nothing is lost meanwhile.",
    "configuration-rejected": "Run peakgate config check on the file, mend it and reload.",
    "dead-letters": "Find the sender, then redrive or drop them.",
    "gateway-down": "Read the last lines of its log; if it is alone, replace it.",
    "orders-late": "Look which service is slow, then add workers.",
    "orders-need-attention": "Mend the cause, then retry or cancel these orders.",
    "overload": "Open the waiting room, then turn off the features that sell nothing.",
    "oversell-suspected": "Run peakgate audit, and stop the sale of the SKUs that it names.",
    "payment-away": "Wait for its probe; if it lasts, raise --order-patience before orders are cancelled.",
    "queue-away": "Look for a changed permission or endpoint; orders wait safely.",
    "store-away": "Wait for the failover; if it lasts, open the waiting room.",
    "webhooks-late": "Call the owner of the receiver; messages wait.",
}


class Headline:
    """Remembers since when each alert has been there. A moment without it, shorter than `patience_s`, does not end it."""

    def __init__(self, *, patience_s: float = 15.0) -> None:
        self._patience_s = patience_s
        # By the topic of the alert: since when, and when it was last there.
        self._seen: dict[str, tuple[float, float]] = {}

    def of(self, alerts: Sequence[Alert], at: float) -> tuple[Told, Sequence[Told]]:
        """The first line, which tells the alarm that has lasted longest, and all alerts; `at` in Unix seconds."""
        self._remember(alerts, at)
        told = [self._told(alert) for alert in alerts]
        alarms = [each for each in told if each["level"] == "alarm"]
        if not alarms:
            return _calm(len(told)), told
        first = min(alarms, key=lambda each: each["since"])
        more = f" ({len(alarms) - 1} more below)" if len(alarms) > 1 else ""
        return {**first, "text": first["text"] + more}, told

    def _told(self, alert: Alert) -> Told:
        return {
            "level": alert.level,
            "text": alert.text,
            "since": self._seen[alert.topic][0],
            "do": FIRST_ACTS.get(alert.runbook, ""),
            "runbook": alert.runbook,
        }

    def _remember(self, alerts: Sequence[Alert], at: float) -> None:
        for alert in alerts:
            since, _ = self._seen.get(alert.topic, (at, at))
            self._seen[alert.topic] = (since, at)
        self._seen = {topic: times for topic, times in self._seen.items() if at - times[1] <= self._patience_s}


def _calm(notes: int) -> Told:
    text = "Everything is running normally."
    if notes:
        text = f"Everything is running; {'a note is' if notes == 1 else f'{notes} notes are'} below."
    return {"level": "note" if notes else "well", "text": text, "since": None, "do": "", "runbook": ""}
