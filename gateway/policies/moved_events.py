"""Events that operators start or end at another time than the file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from gateway.config.policies import Event, Policies


@dataclass(frozen=True, slots=True)
class MovedEvent:
    """The start and end of an event in Unix seconds; None is the time of the file."""

    start: float | None = None
    end: float | None = None

    def applied_to(self, event: Event) -> Event:
        """The event at its other times."""
        return replace(event, start=_moment(self.start) or event.start, end=_moment(self.end) or event.end)


class UnknownEvent(Exception):
    """The file has no event of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def with_moved_events(policies: Policies, moved: Mapping[str, MovedEvent]) -> Policies:
    """The policies with these events, by name, at their other times."""
    if not moved:
        return policies
    events = tuple(moved.get(event.name, MovedEvent()).applied_to(event) for event in policies.events)
    return replace(policies, events=events)


def _moment(unix_s: float | None) -> datetime | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC)
