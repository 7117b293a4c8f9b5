"""The review of a time as one HTML file: performance, cost, security, decisions. It needs no other file and no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib import resources
from typing import Final, TypeVar

import orjson

from gateway.admin.acts.audit_log import Act
from gateway.commands.review_figures import CHECKOUT, Figures

_MOST_ROUTES: Final = 15
_K = TypeVar("_K")
_WIDTH: Final = 1000
_HEIGHT: Final = 100
# A plot has a point for each of so many pixels: longer times are shown by the busiest minute of several.
_POINTS: Final = 500


class Price:
    """The cost of an hour of all that ran, in a currency."""

    def __init__(self, an_hour: float, currency: str) -> None:
        self.an_hour = an_hour
        self.currency = currency


def review_page(figures: Figures, acts: Sequence[Act], price: Price | None, sources: Sequence[str]) -> str:
    """The page."""
    sections = [
        _performance(figures),
        _cost(figures, price),
        _security(figures, acts),
        _decisions(acts),
    ]
    return _template().format(
        title=f"{_time(figures.start)} to {_time(figures.end)}",
        sources=escape("; ".join(sources)),
        sections="\n".join(sections),
    )


@cache
def _template() -> str:
    return resources.files(__package__).joinpath("review_page.html").read_text(encoding="utf-8")


def _performance(figures: Figures) -> str:
    requests = figures.requests
    peak = max(figures.requests_by_minute, default=0)
    checkout = figures.routes.get(f"POST {CHECKOUT}")
    failed = 0.0 if checkout is None or not checkout.count else checkout.failed / checkout.count
    facts = [
        ("requests", f"{requests:,.0f}"),
        ("in the busiest minute", f"{peak:,.0f}"),
        ("carts made", f"{figures.carts:,.0f}"),
        ("orders accepted", f"{figures.orders:,.0f}"),
        ("orders in the busiest minute", f"{max(figures.orders_by_minute, default=0):,.0f}"),
        ("of checkouts failed (5xx)", f"{failed:.3%}"),
    ]
    busiest = sorted(figures.routes.items(), key=lambda each: -each[1].count)[:_MOST_ROUTES]
    rows = [
        (
            route,
            f"{stats.count:,.0f}",
            f"{stats.failed / stats.count:.3%}",
            *(f"{stats.quantile_ms(share):,.1f} ms" for share in (0.5, 0.95, 0.99)),
        )
        for route, stats in busiest
    ]
    classes = [(name, f"{count:,.0f}", f"{count / requests:.2%}") for name, count in sorted(figures.classes.items())]
    return _section(
        "Performance",
        _facts(facts),
        "<p>Requests a minute, and those that failed with a 5xx:</p>",
        _plot((figures.requests_by_minute, ""), (figures.failed_by_minute, "bad")),
        "<p>Orders accepted a minute:</p>",
        _plot((figures.orders_by_minute, "")),
        _table(("answers", "count", "share"), classes),
        _table(("route", "requests", "5xx", "p50", "p95", "p99"), rows),
    )


def _cost(figures: Figures, price: Price | None) -> str:
    if price is None:
        return _section("Cost", "<p>No price was given: <code>--price-per-hour</code> is the sum of all that ran.</p>")
    total = price.an_hour * (figures.end - figures.start).total_seconds() / 3600
    facts = [("for the time", f"{total:,.2f} {price.currency}")]
    if figures.orders:
        facts.append(("for an order", f"{total / figures.orders:,.4f} {price.currency}"))
    if figures.requests:
        facts.append(("for a million requests", f"{total / figures.requests * 1e6:,.2f} {price.currency}"))
    busy = sum(1 for count in figures.requests_by_minute if count > max(figures.requests_by_minute) / 2)
    text = f"<p>{busy:,} of {len(figures.requests_by_minute):,} minutes had more than half of the peak: the others could run on less.</p>"
    return _section("Cost", _facts(facts), text)


def _security(figures: Figures, acts: Sequence[Act]) -> str:
    denied = [(str(status), route, f"{count:,.0f}") for (status, route), count in _most(figures.denied, _MOST_ROUTES)]
    problems = [(slug, f"{count:,.0f}") for slug, count in _most(figures.problems, 2 * _MOST_ROUTES)]
    rejected = [act for act in acts if act.status >= 400]
    return _section(
        "Security",
        _facts(
            [
                ("denied: 401, 403, 429", f"{sum(figures.denied.values()):,.0f}"),
                ("acts of operators rejected", f"{len(rejected):,.0f}"),
            ]
        ),
        _table(("status", "route", "denied"), denied),
        _table(("refused because of", "count"), problems),
        _acts(rejected) if rejected else "",
    )


def _decisions(acts: Sequence[Act]) -> str:
    done = [act for act in acts if act.status < 400]
    if not done:
        return _section("Decisions", "<p>No operator changed anything.</p>")
    return _section("Decisions", f"<p>{len(done):,} acts of operators:</p>", _acts(done))


def _most(counts: Mapping[_K, float], number: int) -> Sequence[tuple[_K, float]]:
    return sorted(counts.items(), key=lambda each: -each[1])[:number]


def _acts(acts: Iterable[Act]) -> str:
    rows = [
        (
            _time(datetime.fromtimestamp(act.at, UTC)),
            act.who,
            act.act,
            _json(act.before),
            _json(act.after or act.arguments),
        )
        for act in acts
    ]
    return _table(("when", "who", "act", "before", "after"), rows)


def _json(value: object) -> str:
    return orjson.dumps(value).decode() if value else ""


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _section(title: str, *parts: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n" + "\n".join(part for part in parts if part) + "\n</section>"


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return '<ul class="facts">' + "".join(f"<li><b>{value}</b>{name}</li>" for name, value in facts) + "</ul>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _plot(*lines: tuple[Sequence[float], str]) -> str:
    most = max((max(counts, default=0) for counts, _ in lines), default=0) or 1
    shapes = "".join(f'<polyline class="{kind}" points="{_points(counts, most)}"/>' for counts, kind in lines)
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="most: {most:,.0f}">{shapes}</svg>'


def _points(counts: Sequence[float], most: float) -> str:
    step = 1 + len(counts) // _POINTS
    shown = [max(counts[start : start + step]) for start in range(0, len(counts), step)]
    width = _WIDTH / max(1, len(shown) - 1)
    return " ".join(f"{index * width:.1f},{_HEIGHT - _HEIGHT * count / most:.1f}" for index, count in enumerate(shown))
