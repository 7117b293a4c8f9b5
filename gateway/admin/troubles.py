"""What in a status wants somebody's eyes, worst first: the top of the page, for who was woken by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Status = Mapping[str, Any]
# What a breaker and an upstream's target say of themselves when all is well.
CLOSED = "closed"
RAMPING = "ramping"
IN = "in"


class Trouble(NamedTuple):
    """One thing. `alarm`: shoppers may be feeling it; `note`: somebody should know."""

    level: Literal["alarm", "note"]
    text: str


def troubles(status: Status) -> Sequence[Trouble]:
    """All that there are; empty when all is well. `status` is what `/admin/v1/status` answers."""
    found = [
        *_reload_troubles(status),
        *_worker_troubles(status),
        *_shedding_troubles(status),
        *_breaker_troubles(status),
        *_target_troubles(status),
        *_room_troubles(status),
        *_limit_troubles(status),
        *_issuer_troubles(status),
        *_switch_troubles(status),
        *_event_troubles(status),
    ]
    # The same from several workers is said once.
    return sorted(dict.fromkeys(found), key=lambda trouble: trouble.level != "alarm")


def named(status: Status, part: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(worker, name, what is told of it) of a part that tells of things by name, such as the breakers."""
    for worker in status["workers"]:
        for name, told in (worker["parts"].get(part) or {}).items():
            if isinstance(told, Mapping):
                yield worker["name"], name, told


def _parts(status: Status, part: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(worker, what is told) of a part that tells of itself."""
    for worker in status["workers"]:
        if told := worker["parts"].get(part):
            yield worker["name"], told


def _reload_troubles(status: Status) -> Iterator[Trouble]:
    last = status["last_reload"]
    if last is not None and last["outcome"] == "refused":
        yield Trouble("alarm", "The last reload was refused; the policies before it stay in force")
    if last is not None and last["behind"]:
        yield Trouble("alarm", f"The last reload has not reached worker {', '.join(last['behind'])} yet")
    if changed := status["policies"]["needs_restart"]:
        yield Trouble("note", f"Settings of the file that need a restart: {', '.join(changed)}")


def _worker_troubles(status: Status) -> Iterator[Trouble]:
    for worker in status["workers"]:
        name, digest = worker["name"], worker["digest"]
        if worker["state"] != "ready":
            yield Trouble("note", f"Worker {name} is {worker['state']}")
        elif not worker["answers"]:
            yield Trouble("alarm", f"Worker {name} {worker['silence']}")
        elif digest != status["policies"]["digest"]:
            yield Trouble("alarm", f"Worker {name} goes by other policies: {digest}")
        if worker["restarts"]:
            yield Trouble("note", f"Worker {worker['service']} died {_times(worker['restarts'])} since the start")
    for control in status["control"]:
        if control["restarts"]:
            yield Trouble("note", f"The control process died {_times(control['restarts'])} since the start")


def _shedding_troubles(status: Status) -> Iterator[Trouble]:
    pressures = {worker: told.get("pressure") or 0 for worker, told in _parts(status, "shedding")}
    if at_work := [worker for worker, pressure in pressures.items() if pressure > 0]:
        most = max(pressures.values())
        yield Trouble("alarm", f"Load is shed, up to {most:.0%} of requests, in {_workers(at_work)}")


def _limit_troubles(status: Status) -> Iterator[Trouble]:
    alone: dict[str, list[str]] = {}
    for worker, limits in _parts(status, "limits"):
        if limits.get("local_for_s") is not None:
            alone.setdefault(limits.get("local_because") or "no reason given", []).append(worker)
    for reason, workers in alone.items():
        yield Trouble("alarm", f"Rate limits are kept without the store in {_workers(workers)}: {reason}")


def _issuer_troubles(status: Status) -> Iterator[Trouble]:
    for _, issuer in _parts(status, "issuer"):
        if issuer.get("failures_in_row"):
            yield Trouble("note", f"The keys of the token issuer cannot be fetched: {issuer.get('last_error')}")


def _event_troubles(status: Status) -> Iterator[Trouble]:
    for _, events in _parts(status, "events"):
        for name in events.get("running") or ():
            yield Trouble("note", f"The event {name} is running")


def _breaker_troubles(status: Status) -> Iterator[Trouble]:
    seen: dict[tuple[str, str, str], list[str]] = {}
    for worker, name, breaker in named(status, "breakers"):
        state = breaker.get("state", CLOSED)
        if state != CLOSED:
            seen.setdefault((name, state, breaker.get("reason") or ""), []).append(worker)
    for (name, state, reason), workers in seen.items():
        # A ramping breaker rejects fewer calls every second.
        yield Trouble(
            "note" if state == RAMPING else "alarm", _told(f"The breaker of {name} is {state}", workers, reason)
        )


def _target_troubles(status: Status) -> Iterator[Trouble]:
    seen: dict[tuple[str, str, str, str], list[str]] = {}
    for worker, name, upstream in named(status, "upstreams"):
        for target in upstream.get("targets", ()):
            if target.get("state", IN) != IN:
                told = (name, target.get("url", ""), target["state"], target.get("reason") or "")
                seen.setdefault(told, []).append(worker)
    for (name, url, state, reason), workers in seen.items():
        yield Trouble("alarm", _told(f"{name}: {url} is {state}", workers, reason))


def _room_troubles(status: Status) -> Iterator[Trouble]:
    # All workers show the same queue, each as it was when it looked last.
    waiting: dict[str, int] = {}
    for _, name, room in named(status, "rooms"):
        waiting[name] = max(waiting.get(name, 0), room.get("waiting") or 0)
    for name, count in waiting.items():
        if count:
            yield Trouble("note", f"{count:,} wait in the room {name}")


def _switch_troubles(status: Status) -> Iterator[Trouble]:
    for _, name, switch in named(status, "switches"):
        percent = switch.get("percent", 100)
        if not switch.get("on", True):
            yield Trouble("note", f"The switch {name} is off")
        elif percent is not None and percent < 100:
            yield Trouble("note", f"The switch {name} is at {percent:g} %")


def _told(what: str, workers: Sequence[str], reason: str) -> str:
    return f"{what} in {_workers(workers)}: {reason or 'no reason given'}"


def _workers(names: Sequence[str]) -> str:
    return f"worker{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
