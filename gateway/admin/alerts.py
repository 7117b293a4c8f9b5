"""The alerts of a status, most severe first: the top of the status page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

Status = Mapping[str, Any]
# The states of a breaker and of an upstream's target that need no alert.
CLOSED = "closed"
RAMPING = "ramping"
HEALTHY = "healthy"
# Sent at once in good times, and swept within 10 s.
OLD_OUTBOX_S = 60.0
# Handed on at once in good times, and swept within 12 s of a kill.
OLD_EVENTS_S = 60.0
# Orders that wait for a payment service are delivered again, and so are old too.
OLD_QUEUE_S = 300.0


# Anything that changes while an alert goes on: numbers, and the workers that have noticed it.
_CHANGING: Final = re.compile(r" in workers? [0-9a-z, ]+|[0-9][0-9.,]*")
# Runbooks of breakers; those of upstreams and Regions have none of their own.
_BREAKERS: Final = {
    "payment": "payment-away",
    "shipping": "payment-away",
    "queue": "queue-away",
    "archive": "archive-behind",
    "sns": "webhooks-late",
}


class Alert(NamedTuple):
    """One alert. `alarm`: shoppers may be affected; `note`: for information. `runbook` is a page of docs/runbooks/."""

    level: Literal["alarm", "note"]
    text: str
    runbook: str = ""

    @property
    def topic(self) -> str:
        """The part of the text that stays the same while the alert goes on."""
        return _CHANGING.sub("", self.text)


def find_alerts(status: Status) -> Sequence[Alert]:
    """All alerts of a status, as `/admin/v1/status` gives it; empty when everything is normal."""
    found = [
        *_reload_alerts(status),
        *_worker_alerts(status),
        *_task_alerts(status),
        *_shedding_alerts(status),
        *_breaker_alerts(status),
        *_target_alerts(status),
        *_room_alerts(status),
        *_manual_alerts(status),
        *_limit_alerts(status),
        *_audit_alerts(status),
        *_order_alerts(status),
        *_sink_alerts(status),
        *_issuer_alerts(status),
        *_switch_alerts(status),
        *_event_alerts(status),
    ]
    # Equal alerts of several workers are listed once.
    return sorted(dict.fromkeys(found), key=lambda alert: alert.level != "alarm")


def named(status: Status, part: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(worker, name, item) of a part that maps names to items, such as the breakers."""
    for worker in status["workers"]:
        for name, stats in (worker["parts"].get(part) or {}).items():
            if isinstance(stats, Mapping):
                yield worker["name"], name, stats


def _parts(status: Status, part: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(worker, snapshot) of a part."""
    for worker in status["workers"]:
        if stats := worker["parts"].get(part):
            yield worker["name"], stats


def _reload_alerts(status: Status) -> Iterator[Alert]:
    last = status["last_reload"]
    if last is not None and last["outcome"] == "rejected":
        yield Alert(
            "alarm", "The last reload was rejected; the policies before it stay active", "configuration-rejected"
        )
    if last is not None and last["lagging_workers"]:
        yield Alert(
            "alarm",
            f"The last reload has not reached worker {', '.join(last['lagging_workers'])} yet",
            "configuration-rejected",
        )
    if changed := status["policies"]["needs_restart"]:
        yield Alert("note", f"Settings of the file that need a restart: {', '.join(changed)}", "configuration-rejected")


def _worker_alerts(status: Status) -> Iterator[Alert]:
    for worker in status["workers"]:
        name, digest = worker["name"], worker["digest"]
        if worker["state"] != "ready":
            yield Alert("note", f"Worker {name} is {worker['state']}", "gateway-down")
        elif not worker["responds"]:
            yield Alert("alarm", f"Worker {name} {worker['no_reply_because']}", "gateway-down")
        elif digest != status["policies"]["digest"]:
            yield Alert("alarm", f"Worker {name} has other policies: {digest}", "gateway-down")
        if worker["restarts"]:
            yield Alert(
                "note", f"Worker {worker['service']} died {_times(worker['restarts'])} since the start", "gateway-down"
            )
    for control in status["control"]:
        if control["restarts"]:
            yield Alert(
                "note", f"The control process died {_times(control['restarts'])} since the start", "gateway-down"
            )


def _task_alerts(status: Status) -> Iterator[Alert]:
    for worker, name, task in named(status, "background"):
        if not task["is_running"] and task["last_error"] is not None:
            yield Alert(
                "alarm", f"Background task {name} of worker {worker} died: {task['last_error']}", "gateway-down"
            )
        elif task["restarts"]:
            yield Alert(
                "note", f"Background task {name} of worker {worker} died {_times(task['restarts'])}", "gateway-down"
            )


def _shedding_alerts(status: Status) -> Iterator[Alert]:
    pressures = {worker: stats.get("pressure") or 0 for worker, stats in _parts(status, "shedding")}
    if at_work := [worker for worker, pressure in pressures.items() if pressure > 0]:
        most = max(pressures.values())
        yield Alert("alarm", f"Load is being shed, up to {most:.0%} of requests, in {_workers(at_work)}", "overload")


def _limit_alerts(status: Status) -> Iterator[Alert]:
    alone: dict[str, list[str]] = {}
    for worker, limits in _parts(status, "limits"):
        if limits.get("local_for_s") is not None:
            alone.setdefault(limits.get("local_because") or "no reason given", []).append(worker)
    for reason, workers in alone.items():
        yield Alert("alarm", f"Rate limits run without the store in {_workers(workers)}: {reason}", "store-away")


def _audit_alerts(status: Status) -> Iterator[Alert]:
    for _, audit in _parts(status, "audit"):
        if findings := sum(audit.get("findings", {}).values()):
            text = f"The books do not agree, {findings:,} finding{'s' if findings > 1 else ''}: peakgate audit"
            yield Alert("alarm", text, "oversell-suspected")


def _order_alerts(status: Status) -> Iterator[Alert]:
    # All workers count the same orders, each at the time of its last count.
    orders = max((stats.get("needing_attention") or 0 for _, stats in _parts(status, "orders")), default=0)
    dead_letters = max((stats.get("dead_letters") or 0 for _, stats in _parts(status, "orders")), default=0)
    if orders:
        yield Alert(
            "alarm",
            f"{orders:,} order{'s need' if orders > 1 else ' needs'} attention: peakgate orders list --state attention",
            "orders-need-attention",
        )
    if dead_letters:
        letters = f"{dead_letters:,} dead letter{'s' if dead_letters > 1 else ''}"
        yield Alert("note", f"{letters} of the order queue: peakgate orders dead list", "dead-letters")
    for _, shop in _parts(status, "shop"):
        if (shop.get("outbox_age_s") or 0) >= OLD_OUTBOX_S:
            yield Alert(
                "alarm",
                f"{shop['outbox']:,} messages are not in the order queue yet, the oldest for {shop['outbox_age_s']:.0f} s",
                "queue-away",
            )
        if (shop.get("queue_age_s") or 0) >= OLD_QUEUE_S:
            yield Alert(
                "note", f"The oldest message in the order queue is {shop['queue_age_s']:.0f} s old", "orders-late"
            )


def _sink_alerts(status: Status) -> Iterator[Alert]:
    for _, endpoint, stats in named(status, "webhooks"):
        if stats.get("disabled"):
            yield Alert(
                "note",
                f"Webhooks to {endpoint} are disabled ({stats['disabled']}): peakgate webhooks list",
                "webhooks-late",
            )
    for _, sink, stats in named(status, "event_relays"):
        if (stats.get("oldest_age_s") or 0) >= OLD_EVENTS_S:
            yield Alert(
                "note",
                f"{stats['waiting']:,} events wait for {sink}, the oldest for {stats['oldest_age_s']:.0f} s",
                "archive-behind" if sink == "archive" else "webhooks-late",
            )


def _issuer_alerts(status: Status) -> Iterator[Alert]:
    for _, issuer in _parts(status, "issuer"):
        if issuer.get("failures_in_row"):
            yield Alert("note", f"The keys of the token issuer cannot be fetched: {issuer.get('last_error')}")


def _event_alerts(status: Status) -> Iterator[Alert]:
    for _, events in _parts(status, "events"):
        for name in events.get("running") or ():
            yield Alert("note", f"The event {name} is running")


def _breaker_alerts(status: Status) -> Iterator[Alert]:
    seen: dict[tuple[str, str, str], list[str]] = {}
    for worker, name, breaker in named(status, "breakers"):
        state = breaker.get("state", CLOSED)
        if state != CLOSED:
            seen.setdefault((name, state, breaker.get("reason") or ""), []).append(worker)
    for (name, state, reason), workers in seen.items():
        # A ramping breaker rejects fewer calls every second.
        yield Alert(
            "note" if state == RAMPING else "alarm",
            _text(f"The breaker of {name} is {state}", workers, reason),
            "store-away" if name.partition("@")[0] == "store" else _BREAKERS.get(name, ""),
        )


def _target_alerts(status: Status) -> Iterator[Alert]:
    seen: dict[tuple[str, str, str, str], list[str]] = {}
    for worker, name, upstream in named(status, "upstreams"):
        for target in upstream.get("targets", ()):
            if target.get("state", HEALTHY) != HEALTHY:
                stats = (name, target.get("url", ""), target["state"], target.get("reason") or "")
                seen.setdefault(stats, []).append(worker)
    for (name, url, state, reason), workers in seen.items():
        yield Alert("alarm", _text(f"{name}: {url} is {state}", workers, reason))


def _room_alerts(status: Status) -> Iterator[Alert]:
    # All workers report the same queue, each at the time of its last refresh.
    waiting: dict[str, int] = {}
    for _, name, room in named(status, "rooms"):
        waiting[name] = max(waiting.get(name, 0), room.get("waiting") or 0)
    for name, count in waiting.items():
        if count:
            yield Alert("note", f"{count:,} clients wait in the waiting room {name}")


def _switch_alerts(status: Status) -> Iterator[Alert]:
    for _, name, switch in named(status, "switches"):
        percent = switch.get("percent", 100)
        if not switch.get("enabled", True):
            yield Alert("note", f"The switch {name} is off")
        elif percent is not None and percent < 100:
            yield Alert("note", f"The switch {name} is at {percent:g} %")


def _manual_alerts(status: Status) -> Iterator[Alert]:
    for kind, settings in status.get("manual_settings", {}).items():
        for name, setting in settings.items():
            if kind == "room" and setting["admissions_per_s"] == 0 and setting["enabled"] is not False:
                yield Alert("alarm", f"The waiting room {name} is paused by hand: it admits nobody", "overload")
            elif kind in _SET_BY_HAND:
                yield Alert("note", f"{_SET_BY_HAND[kind]} {name} is set by hand")


# Other kinds have alerts of their own.
_SET_BY_HAND: Final = {"room": "The waiting room", "event": "The event"}


def _text(fact: str, workers: Sequence[str], reason: str) -> str:
    return f"{fact} in {_workers(workers)}: {reason or 'no reason given'}"


def _workers(names: Sequence[str]) -> str:
    return f"worker{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
