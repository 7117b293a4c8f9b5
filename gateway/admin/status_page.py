"""The operator's live page: one HTML document, made on the server, readable at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib import resources
from typing import Any, Final

from gateway.admin.alerts import Alert, Status, find_alerts, named
from gateway.cache.stats import FETCHES, HITS

# Parts in the order in which an operator on call needs them; others follow by name.
TITLES: Final[Mapping[str, str]] = {
    "breakers": "Circuit breakers",
    "shedding": "Load shedding",
    "shop": "Orders of the shop",
    "orders": "Order workers",
    "order_flow": "Orders and money since the workers' start",
    "checkouts": "Checkouts since the workers' start",
    "webhooks": "Webhooks",
    "event_relays": "Events on their way to sinks",
    "limits": "Rate limits",
    "rooms": "Waiting rooms",
    "upstreams": "Upstreams",
    "cache": "Response cache",
    "degraded": "Degraded responses",
    "switches": "Switches",
    "events": "Events",
    "requests": "Responses",
    "identity": "Clients",
    "tokens": "Access tokens",
    "issuer": "Token issuer",
    "failures": "Failures beside responses",
}
# The columns of parts whose items have more members than fit into a table; /admin/v1/status has all of them.
_COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "breakers": ("state", "reason", "since", "forced_open"),
    "rooms": ("enabled", "waiting", "active", "admitted_per_s", "factor", "why", "stock", "shown_sold_out"),
    "switches": ("enabled", "percent", "override", "routes", "rejected"),
    "targets": ("state", "reason", "since", "outstanding", "idle_connections"),
}
# Parts that the table of workers shows already.
_IN_WORKER_TABLE: Final = frozenset({"process", "policies"})
# Parts that consist of counters; zeros are left out.
_COUNTS: Final = frozenset({"cache", "degraded", "failures"})
# Rows of the shop: the number, its name for people, and the age of the oldest.
_WAITING: Final = (
    ("outbox", "Messages that the queue does not have yet", "outbox_age_s"),
    ("queue", "Messages in the queue", "queue_age_s"),
    ("open_claims", "Checkouts that hold stock", ""),
)
_NO_VALUE: Final = "-"
_MIB: Final = 1024 * 1024
_MIN_UNIX_TIME: Final = 1e9  # Unix seconds: no duration is that long
Row = tuple[str, Sequence[str]]


def status_page(status: Status) -> str:
    """The HTML page of a status, as `/admin/v1/status` gives it."""
    alerts = find_alerts(status)
    headline = _headline(alerts)
    names = {name for worker in status["workers"] for name in worker["parts"]} - _IN_WORKER_TABLE
    order = [*(name for name in TITLES if name in names), *sorted(names - TITLES.keys())]
    sections = [_workers(status), _policies(status), *(_part(status, name) for name in order)]
    return _template().format(
        title=escape(f"({len(alerts)}) {headline}" if alerts else headline),
        level=alerts[0].level if alerts else "well",
        headline=escape(headline),
        version=escape(status["version"]),
        at=_clock_time(status["at"]),
        alerts=_alert_list(alerts),
        sections="\n".join(sections),
    )


@cache
def _template() -> str:
    return resources.files(__package__).joinpath("status_page.html").read_text(encoding="utf-8")


def _headline(alerts: Sequence[Alert]) -> str:
    alarms = sum(alert.level == "alarm" for alert in alerts)
    if alarms:
        return f"{alarms} alarm{'s' if alarms > 1 else ''}"
    return "Peakgate is running, with notes" if alerts else "Peakgate is running normally"


def _alert_list(alerts: Sequence[Alert]) -> str:
    items = "".join(f'<li class="{level}"><b>{level}</b>{escape(text)}</li>\n' for level, text, _ in alerts)
    return f'<ul class="alerts" aria-label="Alerts">\n{items}</ul>' if alerts else ""


# Sections


def _workers(status: Status) -> str:
    columns = ("state", "responds", "process", "started", "restarts", "policies", "connections", "memory", "CPU")
    rows = [(worker["name"], _worker_cells(worker, status["at"])) for worker in status["workers"]]
    return _section("Workers", _table("Worker", columns, rows))


def _worker_cells(worker: Mapping[str, Any], at: float) -> Sequence[str]:
    process = worker["parts"].get("process", {})
    return (
        _format_value("state", worker["state"], at),
        "yes" if worker["responds"] else f'<span class="note">{escape(str(worker["no_reply_because"]))}</span>',
        str(worker["pid"]),
        _format_value("started_at", worker["started_at"], at),
        str(worker["restarts"]),
        escape(worker["digest"] or _NO_VALUE),
        *(_format_value(key, process.get(key), at) for key in ("connections", "memory_bytes", "cpu_s")),
    )


def _policies(status: Status) -> str:
    policies, last = status["policies"], status["last_reload"]
    text = f"<p>Active: <b>{escape(policies['digest'])}</b>, read from {escape(policies['file'])}.</p>"
    if last is None:
        return _section("Policies", f"{text}\n<p>Not reloaded since the start.</p>")
    text += f"\n<p>Last reload: <b>{escape(last['outcome'])}</b>, {_format_value('at', last['at'], status['at'])}.</p>"
    if last["errors"]:
        text += f"\n<pre>{escape(chr(10).join(last['errors']))}</pre>"
    return _section("Policies", text)


def _part(status: Status, name: str) -> str:
    by_worker = {worker["name"]: worker["parts"][name] for worker in status["workers"] if worker["parts"].get(name)}
    title = TITLES.get(name, name.replace("_", " ").capitalize())
    if not by_worker:
        return _section(title, '<p class="soft">None.</p>')
    if name == "upstreams":
        return _section(title, _items(status["at"], "targets", _targets(status)))
    if name == "shop":
        return _section(title, _shop(status, next(iter(by_worker.values()))))
    if name == "requests":
        return _section(title, _responses(by_worker.values()))
    if all(_is_items(part) for part in by_worker.values()):
        return _section(title, _items(status["at"], name, named(status, name)))
    before = _hit_share(by_worker) if name == "cache" else ""
    # Members that map names to items have a table of their own.
    nested = dict.fromkeys(
        key for part in by_worker.values() for key, value in part.items() if value and _is_items(value)
    )
    values = {worker: {key: part[key] for key in part if key not in nested} for worker, part in by_worker.items()}
    tables = [_items(status["at"], "", _nested_items(by_worker, key)) for key in nested]
    return _section(title, before + "\n".join([*tables, _values(status["at"], name, values)]))


def _shop(status: Status, counts: Mapping[str, Any]) -> str:
    """All orders by status, and all that waits; one worker has counted them, or all have."""
    at = status["at"]
    by_status = counts["by_status"]
    statuses = _table("", [each.replace("_", " ") for each in by_status], [("Orders", _cells(by_status.values()))])
    waiting = [
        (
            text,
            (
                _format_value(key, counts[key], at),
                _format_value(age, counts.get(age), at) if counts[key] else _NO_VALUE,
            ),
        )
        for key, text, age in _WAITING
        if counts[key] is not None
    ]
    workers = [worker["parts"]["orders"] for worker in status["workers"] if worker["parts"].get("orders")]
    waiting += [
        (text, (_format_value(key, max(each.get(key) or 0 for each in workers), at), _NO_VALUE))
        for key, text in (("needing_attention", "Orders that need attention"), ("dead_letters", "Dead letters"))
        if workers
    ]
    return statuses + "\n" + _table("Waiting", ("number", "age of the oldest"), waiting)


def _cells(counts: Iterable[int]) -> Sequence[str]:
    return [f"{count:,}" for count in counts]


def _is_items(value: Any) -> bool:
    """Whether a value maps names to items."""
    return isinstance(value, Mapping) and all(isinstance(each, Mapping) for each in value.values())


def _nested_items(by_worker: Mapping[str, Mapping[str, Any]], key: str) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    for worker, part in by_worker.items():
        for name, thing in (part.get(key) or {}).items():
            yield worker, name, thing


def _responses(by_worker: Iterable[Mapping[str, Mapping[str, int]]]) -> str:
    """Totals over all workers; the metrics have them by route."""
    totals: Counter[str] = Counter()
    for routes in by_worker:
        for by_status in routes.values():
            totals.update(by_status)
    counts = "; ".join(f"{escape(status)}: <b>{count:,}</b>" for status, count in sorted(totals.items()))
    return f"<p>Since the workers' start, by status: {counts}.</p>"


def _targets(status: Status) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    for worker, name, upstream in named(status, "upstreams"):
        for target in upstream.get("targets", ()):
            yield worker, f"{name} {target.get('url', '')}", target


def _items(at: float, part: str, by_worker: Iterable[tuple[str, str, Mapping[str, Any]]]) -> str:
    """A row for each item; several rows where the workers have different values."""
    items = list(by_worker)
    columns = _COLUMNS.get(part) or list(dict.fromkeys(key for _, _, item in items for key in item))
    rows: dict[Row, list[str]] = {}
    for worker, name, item in items:
        cells = tuple(_format_value(key, item.get(key), at) for key in columns)
        rows.setdefault((name, cells), []).append(worker)
    lines = [(name, (", ".join(workers), *cells)) for (name, cells), workers in rows.items()]
    return _table("Name", ("workers", *(key.replace("_", " ") for key in columns)), sorted(lines))


def _values(at: float, part: str, by_worker: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each member and a column for each worker. Members without a value in any worker are left out."""
    nothing: tuple[Any, ...] = (None, "", [], {}) if part not in _COUNTS else (None, "", [], {}, 0)
    keys = dict.fromkeys(key for values in by_worker.values() for key, value in values.items() if value not in nothing)
    if not keys:
        return '<p class="soft">None since the start.</p>'
    rows = [
        (key.replace("_", " "), [_format_value(key, values.get(key), at) for values in by_worker.values()])
        for key in keys
    ]
    return _table("", [f"worker {worker}" for worker in by_worker], rows)


def _hit_share(by_worker: Mapping[str, Mapping[str, Any]]) -> str:
    hits, fetches = (
        sum(values.get(key, 0) for values in by_worker.values() for key in keys) for keys in (HITS, FETCHES)
    )
    requests = hits + fetches
    return f"<p>Hit ratio: <b>{hits / requests:.1%}</b> of {requests:,} requests.</p>\n" if requests else ""


# Pieces


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>"


def _table(corner: str, columns: Sequence[str], rows: Iterable[Row]) -> str:
    """Cells are HTML already; headings are not."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in (corner, *columns))
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n'
        for name, cells in rows
    )
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def _format_value(key: str, value: Any, at: float) -> str:
    """A value as HTML; its name gives its unit."""
    if value is None or value == "":
        return _NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        inner = (
            f"{escape(name.replace('_', ' '))} {_format_value(name, each, at)}"
            for name, each in value.items()
            if each is not None
        )
        return ", ".join(inner) or _NO_VALUE
    if isinstance(value, list | tuple):
        return ", ".join(_format_value(key, each, at) for each in value) or _NO_VALUE
    if isinstance(value, int | float):
        return _number(key, value, at)
    text = escape(str(value))
    return f'<span class="{_LEVELS[key, text]}">{text}</span>' if (key, text) in _LEVELS else text


# Words that are coloured; they can be read without the colour.
_LEVELS: Final = {
    **{("state", word): "well" for word in ("ready", "closed", "healthy")},
    **{("state", word): "note" for word in ("starting", "stopping", "half-open", "ramping")},
    **{("state", word): "alarm" for word in ("open", "ejected", "unhealthy")},
}


def _number(key: str, value: float, at: float) -> str:
    if value > _MIN_UNIX_TIME and (key in {"at", "since", "start", "end"} or key.endswith("_at")):
        return f"{_ago(at - value)} ({_clock_time(value)})"
    if key.endswith("bytes"):
        return f"{value / _MIB:,.1f} MiB" if value >= _MIB else f"{value / 1024:,.1f} KiB"
    if key.endswith("_s") and not key.endswith("per_s"):
        return f"{value:,.4g} s" if abs(value) < 10_000 else f"{value:,.0f} s"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _ago(seconds: float) -> str:
    size, unit = next(
        ((size, unit) for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")) if abs(seconds) >= 2 * size),
        (1, "s"),
    )
    count = abs(round(seconds / size))
    return f"in {count} {unit}" if seconds < -0.5 else f"{count} {unit} ago"


def _clock_time(unix_s: float) -> str:
    """With its date, as it may be another day where the reader is."""
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
