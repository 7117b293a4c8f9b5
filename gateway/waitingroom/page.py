"""The page that a browser shows while its shopper waits. It needs no script: it asks again by itself."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import resources
from string import Template
from typing import Final

from msgspec import Struct

from gateway.http.message import header

HTML: Final = b"text/html; charset=utf-8"
_TEXT: Final = resources.files("gateway.waitingroom").joinpath("page.html").read_text(encoding="utf-8")
_TEMPLATE: Final = Template(_TEXT)
_STYLE: Final = re.findall(r"<style>(.*?)</style>", _TEXT, re.DOTALL)[0]
_STYLE_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# The page shows its own style and nothing else.
PAGE_HEADERS: Final = (
    header(
        "Content-Security-Policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )
    + header("X-Content-Type-Options", "nosniff")
    + header("Referrer-Policy", "no-referrer")
)


class Waiting(Struct, frozen=True):
    """The values of the page.

    `ahead` is None while the position is unknown, `eta_s` while there is no estimate; `since` and `now` are Unix seconds.
    The page reloads after `refresh_s`. Without `repeats` it does not, because it is the response to a form.
    """

    ahead: int | None
    eta_s: int | None
    since: int | None
    now: int
    refresh_s: int
    reconnect_s: float
    sold_out: bool = False
    repeats: bool = True


def render(waiting: Waiting) -> bytes:
    """The page, in UTF-8."""
    title, heading, lead = _headline(waiting)
    page = _TEMPLATE.substitute(
        title=html.escape(title),
        heading=html.escape(heading),
        lead=html.escape(lead),
        refresh=f'<meta http-equiv="refresh" content="{waiting.refresh_s}">' if waiting.repeats else "",
        place=_place(waiting),
        facts=_facts(waiting),
        advice="\n      ".join(f"<li>{html.escape(each)}</li>" for each in _advice(waiting)),
        again="Check now" if waiting.repeats else "See whether it is your turn",
    )
    return page.encode()


def _headline(waiting: Waiting) -> tuple[str, str, str]:
    if waiting.sold_out:
        return (
            "Sold out",
            "Sold out",
            "We are sorry: what is left is spoken for by the shoppers ahead of you.",
        )
    if waiting.ahead is None:
        held = "We cannot show your place just now. You have not lost it."
        none = "There is a queue. We cannot give you a place just now."
        lead = none if waiting.since is None else held
        return "Waiting", "One moment, please", lead
    return (
        f"Place {waiting.ahead + 1:,} in the queue",
        "You are in the queue",
        "So many people want in at once that we let them in one after the other.",
    )


def _place(waiting: Waiting) -> str:
    working = '<div class="working" aria-hidden="true"></div>'
    if waiting.sold_out:
        return ""
    if waiting.ahead is None:
        return working
    return f'<p class="place"><small>Your place</small>{waiting.ahead + 1:,}</p>{working}'


def _facts(waiting: Waiting) -> str:
    facts: list[tuple[str, str]] = []
    if waiting.ahead is not None:
        facts.append(("Ahead of you", f"{waiting.ahead:,}"))
    if waiting.ahead is not None and not waiting.sold_out:
        facts.append(("Estimated time", duration(waiting.eta_s) if waiting.eta_s is not None else "not known yet"))
    if waiting.since is not None:
        came = datetime.fromtimestamp(waiting.since, UTC)
        facts.append(("Here since", f'<time datetime="{came:%Y-%m-%dT%H:%M:%SZ}">{came:%H:%M} UTC</time>'))
        facts.append(("Waited so far", duration(max(0, waiting.now - waiting.since))))
    if not facts:
        return ""
    rows = "\n      ".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    return f"<dl>\n      {rows}\n    </dl>"


def _advice(waiting: Waiting) -> Iterable[str]:
    if waiting.repeats:
        yield f"Keep this page open. It asks again by itself every {duration(waiting.refresh_s)}."
    else:
        yield "What you sent was not done. Once it is your turn, go back and send it again."
    if waiting.sold_out:
        yield "Should something become free, you are let in, in the order of the queue."
        return
    if waiting.repeats:
        yield "When it is your turn, the page you asked for appears."
    if waiting.since is not None:
        yield f"Reloading does not cost you your place. Being away for longer than {duration(round(waiting.reconnect_s))} does."
        yield "Your browser must accept cookies: one of them holds your place."


def duration(seconds: int) -> str:
    """So many seconds, as one would say it."""
    if seconds < 60:
        return _count(seconds, "second")
    if seconds < 3600:
        return _count(round(seconds / 60), "minute")
    hours, minutes = divmod(round(seconds / 60), 60)
    return _count(hours, "hour") + (f" {_count(minutes, 'minute')}" if minutes else "")


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}" if number == 1 else f"{number:,} {unit}s"
