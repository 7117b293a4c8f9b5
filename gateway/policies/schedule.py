"""The policies that are active at a moment: those of the file, changed by the events of that moment.

Where events overlap, the stricter value wins: the smallest quota, a room that is on, a switch that is off. A single
event may be looser than the file. The result depends on the file and the time alone, so every worker agrees, after a
restart too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from gateway.config.policies import Event, Limit, Policies, Room, Switch


def effective_policies(policies: Policies, at: datetime) -> Policies:
    """The policies of the file at a moment, which has a time zone.

    Limits and switches change from the start of an event to before its end; rooms change `prewarm_s` earlier, so that
    a queue has formed when it starts.
    """
    running = [event for event in policies.events if event.start <= at < event.end]
    opened = [event for event in policies.events if _opens(event) <= at < event.end]
    if not opened:
        return policies
    return replace(
        policies,
        limits=tuple(_limit(limit, running) for limit in policies.limits),
        rooms=tuple(_room(room, opened) for room in policies.rooms),
        switches=tuple(_switch(switch, running) for switch in policies.switches),
    )


def next_change(policies: Policies, at: datetime) -> datetime | None:
    """The next moment at which `effective_policies` or `to_prewarm` may return something else, None if never."""
    moments = (moment for event in policies.events for moment in (_opens(event), event.start, event.end))
    return min((moment for moment in moments if moment > at), default=None)


def to_prewarm(policies: Policies, at: datetime) -> Sequence[str]:
    """The paths to fetch now, so that they are in the cache when their event starts; each once."""
    soon = (event for event in policies.events if _opens(event) <= at < event.start)
    return list(dict.fromkeys(path for event in soon for path in event.prewarm))


def _opens(event: Event) -> datetime:
    return event.start - timedelta(seconds=event.prewarm_s)


def _limit(limit: Limit, events: Iterable[Event]) -> Limit:
    quotas = [_quota(limit, event) for event in events]
    quota = min((quota for quota in quotas if quota is not None), default=limit.quota)
    if quota == limit.quota:
        return limit
    # A burst of the file scales with its quota.
    burst = None if limit.burst is None else max(1, limit.burst * quota // limit.quota)
    return replace(limit, quota=quota, burst=burst)


def _quota(limit: Limit, event: Event) -> int | None:
    """The quota of a limit during an event, None where it does not change."""
    if limit.name in event.limits:
        return event.limits[limit.name]
    return max(1, int(limit.quota * event.limits_factor)) if event.limits_factor < 1 else None


def _room(room: Room, events: Iterable[Event]) -> Room:
    values = [event.rooms[room.name] for event in events if room.name in event.rooms]
    return replace(room, enabled=any(values)) if values else room


def _switch(switch: Switch, events: Iterable[Event]) -> Switch:
    values = [event.switches[switch.name] for event in events if switch.name in event.switches]
    return replace(switch, enabled=all(values)) if values else switch
