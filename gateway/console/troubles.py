"""What in a status wants somebody's eyes, worst first: the top of the page, for who was woken by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Status = Mapping[str, Any]
# What a breaker and an upstream's target say of themselves when all is well.
PASSING = "passing"
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
        *_breaker_troubles(status),
        *_target_troubles(status),
        *_room_troubles(status),
        *_switch_troubles(status),
    ]
    # The same from several workers is said once.
    return sorted(dict.fromkeys(found), key=lambda trouble: trouble.level != "alarm")


def named(status: Status, part: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(worker, name, what is told of it) of a part that tells of things by name, such as the breakers."""
    for worker in status["workers"]:
        for name, told in (worker["parts"].get(part) or {}).items():
            if isinstance(told, Mapping):
                yield worker["name"], name, told


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


def _breaker_troubles(status: Status) -> Iterator[Trouble]:
    for worker, name, breaker in named(status, "breakers"):
        if breaker.get("state", PASSING) != PASSING:
            yield Trouble(
                "alarm",
                f"{name} is {breaker['state']} in worker {worker}: {breaker.get('reason') or 'no reason given'}",
            )


def _target_troubles(status: Status) -> Iterator[Trouble]:
    for worker, name, upstream in named(status, "upstreams"):
        for target in upstream.get("targets", ()):
            if target.get("state", IN) != IN:
                reason = target.get("reason") or "no reason given"
                yield Trouble("alarm", f"{name}: {target['url']} is {target['state']} in worker {worker}: {reason}")


def _room_troubles(status: Status) -> Iterator[Trouble]:
    for _, name, room in named(status, "rooms"):
        if room.get("waiting"):
            yield Trouble("note", f"{room['waiting']} wait in the room {name}")


def _switch_troubles(status: Status) -> Iterator[Trouble]:
    for _, name, switch in named(status, "switches"):
        percent = switch.get("percent", 100)
        if not switch.get("on", True):
            yield Trouble("note", f"The switch {name} is off")
        elif percent is not None and percent < 100:
            yield Trouble("note", f"The switch {name} is at {percent:g} %")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
