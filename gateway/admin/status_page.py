"""The operator's live page: one HTML document, made on the server, readable at three in the morning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib import resources
from typing import Any, Final

from gateway.admin.troubles import Status, Trouble, named, troubles

# Parts in the order in which a night's questions come; others follow by name.
TITLES: Final[Mapping[str, str]] = {
    "breakers": "Circuit breakers",
    "shedding": "Load shedding",
    "limits": "Rate limits",
    "rooms": "Waiting rooms",
    "upstreams": "Upstreams",
    "cache": "Response cache",
    "degraded": "Degraded answers",
    "switches": "Switches",
    "events": "Events",
    "requests": "Answers",
    "identity": "Clients",
    "tokens": "Shoppers' tokens",
    "issuer": "Token issuer",
}
# Columns of parts that tell more of a thing than a table can hold; the rest is in /admin/v1/status.
_COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "breakers": ("state", "reason", "since", "forced_open"),
    "rooms": ("on", "waiting", "active", "admitted_per_s", "factor", "why", "stock", "told_sold_out"),
    "switches": ("on", "percent", "override", "routes", "refused"),
    "targets": ("state", "reason", "since", "outstanding", "idle_connections"),
}
# Shown in the table of workers, or of no use at night.
_ELSEWHERE: Final = frozenset({"process", "policies"})
# What the cache answered without the upstream, and all that it was asked.
_HITS: Final = ("hit", "not_modified", "stale", "stale_if_error", "collapsed")
_FETCHES: Final = ("miss", "revalidated")
# Parts that count what can happen; most of it never does.
_COUNTS: Final = frozenset({"cache", "degraded"})
_NOTHING: Final = "-"
_MIB: Final = 1024 * 1024
_EARLIEST: Final = 1e9  # Unix seconds: no duration is that long
Row = tuple[str, Sequence[str]]


def status_page(status: Status) -> str:
    """The page for what `/admin/v1/status` answers."""
    found = troubles(status)
    headline = _headline(found)
    names = {name for worker in status["workers"] for name in worker["parts"]} - _ELSEWHERE
    order = [*(name for name in TITLES if name in names), *sorted(names - TITLES.keys())]
    sections = [_workers(status), _policies(status), *(_part(status, name) for name in order)]
    return _template().format(
        title=escape(f"({len(found)}) {headline}" if found else headline),
        level=found[0].level if found else "well",
        headline=escape(headline),
        version=escape(status["version"]),
        at=_clock_time(status["at"]),
        troubles=_trouble_list(found),
        sections="\n".join(sections),
    )


@cache
def _template() -> str:
    return resources.files(__package__).joinpath("status_page.html").read_text(encoding="utf-8")


def _headline(found: Sequence[Trouble]) -> str:
    alarms = sum(trouble.level == "alarm" for trouble in found)
    if alarms:
        return f"{alarms} alarm{'s' if alarms > 1 else ''}"
    return "Peakgate runs; something to know" if found else "Peakgate: all is well"


def _trouble_list(found: Sequence[Trouble]) -> str:
    items = "".join(f'<li class="{level}"><b>{level}</b>{escape(text)}</li>\n' for level, text in found)
    return f'<ul class="troubles" aria-label="What wants a look">\n{items}</ul>' if found else ""


# Sections


def _workers(status: Status) -> str:
    columns = ("state", "answers", "process", "up since", "died", "policies", "connections", "memory", "CPU")
    rows = [(worker["name"], _worker_cells(worker, status["at"])) for worker in status["workers"]]
    return _section("Workers", _table("Worker", columns, rows))


def _worker_cells(worker: Mapping[str, Any], at: float) -> Sequence[str]:
    process = worker["parts"].get("process", {})
    return (
        _shown("state", worker["state"], at),
        "yes" if worker["answers"] else f'<span class="note">{escape(str(worker["silence"]))}</span>',
        str(worker["pid"]),
        _shown("started_at", worker["started_at"], at),
        str(worker["restarts"]),
        escape(worker["digest"] or _NOTHING),
        *(_shown(key, process.get(key), at) for key in ("connections", "memory_bytes", "cpu_s")),
    )


def _policies(status: Status) -> str:
    policies, last = status["policies"], status["last_reload"]
    text = f"<p>In force: <b>{escape(policies['digest'])}</b>, read from {escape(policies['file'])}.</p>"
    if last is None:
        return _section("Policies", f"{text}\n<p>Not reloaded since the start.</p>")
    text += f"\n<p>Last reload: <b>{escape(last['outcome'])}</b>, {_shown('at', last['at'], status['at'])}.</p>"
    if last["faults"]:
        text += f"\n<pre>{escape(chr(10).join(last['faults']))}</pre>"
    return _section("Policies", text)


def _part(status: Status, name: str) -> str:
    told = {worker["name"]: worker["parts"][name] for worker in status["workers"] if worker["parts"].get(name)}
    title = TITLES.get(name, name.replace("_", " ").capitalize())
    if not told:
        return _section(title, '<p class="soft">None.</p>')
    if name == "upstreams":
        return _section(title, _things(status["at"], "targets", _targets(status)))
    if name == "requests":
        return _section(title, _answers(told.values()))
    if all(_is_things(part) for part in told.values()):
        return _section(title, _things(status["at"], name, named(status, name)))
    before = _hit_share(told) if name == "cache" else ""
    # What a part tells of things by name has a table of its own.
    nested = dict.fromkeys(key for part in told.values() for key, value in part.items() if value and _is_things(value))
    facts = {worker: {key: part[key] for key in part if key not in nested} for worker, part in told.items()}
    tables = [_things(status["at"], "", _of(told, key)) for key in nested]
    return _section(title, before + "\n".join([*tables, _facts(status["at"], name, facts)]))


def _is_things(value: Any) -> bool:
    """Whether it tells of several things by their name."""
    return isinstance(value, Mapping) and all(isinstance(each, Mapping) for each in value.values())


def _of(told: Mapping[str, Mapping[str, Any]], key: str) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    for worker, part in told.items():
        for name, thing in (part.get(key) or {}).items():
            yield worker, name, thing


def _answers(told: Iterable[Mapping[str, Mapping[str, int]]]) -> str:
    """Totals of all workers; by route they are in the metrics."""
    totals: Counter[str] = Counter()
    for routes in told:
        for by_status in routes.values():
            totals.update(by_status)
    counts = "; ".join(f"{escape(status)}: <b>{count:,}</b>" for status, count in sorted(totals.items()))
    return f"<p>Since the workers' start, by status: {counts}.</p>"


def _targets(status: Status) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    for worker, name, upstream in named(status, "upstreams"):
        for target in upstream.get("targets", ()):
            yield worker, f"{name} {target.get('url', '')}", target


def _things(at: float, part: str, told: Iterable[tuple[str, str, Mapping[str, Any]]]) -> str:
    """One row for each thing, or one for each worker where they see it differently."""
    found = list(told)
    columns = _COLUMNS.get(part) or list(dict.fromkeys(key for _, _, thing in found for key in thing))
    rows: dict[Row, list[str]] = {}
    for worker, name, thing in found:
        cells = tuple(_shown(key, thing.get(key), at) for key in columns)
        rows.setdefault((name, cells), []).append(worker)
    lines = [(name, (", ".join(workers), *cells)) for (name, cells), workers in rows.items()]
    return _table("Name", ("workers", *(key.replace("_", " ") for key in columns)), sorted(lines))


def _facts(at: float, part: str, told: Mapping[str, Mapping[str, Any]]) -> str:
    """One row for each fact and a column for each worker. What no worker has to tell of is left out."""
    nothing: tuple[Any, ...] = (None, "", [], {}) if part not in _COUNTS else (None, "", [], {}, 0)
    keys = dict.fromkeys(key for facts in told.values() for key, value in facts.items() if value not in nothing)
    if not keys:
        return '<p class="soft">None since the start.</p>'
    rows = [(key.replace("_", " "), [_shown(key, facts.get(key), at) for facts in told.values()]) for key in keys]
    return _table("", [f"worker {worker}" for worker in told], rows)


def _hit_share(told: Mapping[str, Mapping[str, Any]]) -> str:
    hits, fetches = (sum(facts.get(key, 0) for facts in told.values() for key in keys) for keys in (_HITS, _FETCHES))
    asked = hits + fetches
    return f"<p>Answered without the upstream: <b>{hits / asked:.1%}</b> of {asked:,}.</p>\n" if asked else ""


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


def _shown(key: str, value: Any, at: float) -> str:
    """A value for people, as HTML; its name tells what it is."""
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        inner = (
            f"{escape(name.replace('_', ' '))} {_shown(name, each, at)}"
            for name, each in value.items()
            if each is not None
        )
        return ", ".join(inner) or _NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(_shown(key, each, at) for each in value) or _NOTHING
    if isinstance(value, int | float):
        return _number(key, value, at)
    text = escape(str(value))
    return f'<span class="{_LEVELS[key, text]}">{text}</span>' if (key, text) in _LEVELS else text


# Words that are seen from afar. They are words, so that colour is not needed to read them.
_LEVELS: Final = {
    **{("state", word): "well" for word in ("ready", "closed", "in")},
    **{("state", word): "note" for word in ("starting", "stopping", "half-open", "ramping")},
    **{("state", word): "alarm" for word in ("open", "ejected", "unhealthy")},
}


def _number(key: str, value: float, at: float) -> str:
    if value > _EARLIEST and (key in {"at", "since", "start", "end"} or key.endswith("_at")):
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
