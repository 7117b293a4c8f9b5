"""The page that a browser shows while its shopper waits. It needs no script: it asks again by itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from gateway.http.html_page import HTML, PAGE_HEADERS
from gateway.http.page_set import PageSet
from gateway.http.page_texts import Texts

__all__ = ["HTML", "PAGE_HEADERS", "Waiting", "duration", "page_of", "render"]

_WORKING: Final = '<div class="working" aria-hidden="true"></div>'


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
    """The shipped page in English, in UTF-8."""
    return page_of(waiting, PageSet.shipped(), accept_language="en")[0]


def page_of(
    waiting: Waiting, pages: PageSet, *, accept_language: str | None, request_id: str = ""
) -> tuple[bytes, bytes]:
    """The page, in UTF-8 and the client's language, and its header fields."""
    page = pages.room(accept_language)
    texts = page.texts
    title, heading, lead = _headline(waiting, texts)
    again = texts.of("room.check_now" if waiting.repeats else "room.check_turn")
    facts, advice, actions = _facts(waiting, texts), _advice(waiting, texts), pages.actions(texts, again)
    values = {
        "title": title,
        "heading": heading,
        "message": lead,
        "refresh": f'<meta http-equiv="refresh" content="{waiting.refresh_s}">' if waiting.repeats else "",
        "facts": facts,
        "advice": advice,
        "actions": actions,
        "request_id": request_id,
        "content": f"""<div role="status">
      <h1>{heading}</h1>
      <p>{lead}</p>
      {_place(waiting, texts)}
    </div>
    {facts}
    {advice}
    {actions}""",
    }
    return page.fill({name: value.encode() for name, value in values.items()}), page.header_block


def _headline(waiting: Waiting, texts: Texts) -> tuple[str, str, str]:
    if waiting.sold_out:
        heading = texts.of("room.sold_out")
        return heading, heading, texts.of("room.sold_out_lead")
    if waiting.ahead is None:
        lead = texts.of("room.no_place" if waiting.since is None else "room.unknown_place")
        return texts.of("room.unknown_title"), texts.of("room.unknown_heading"), lead
    title = texts.of("room.title", position=texts.number(waiting.ahead + 1))
    return title, texts.of("room.heading"), texts.of("room.lead")


def _place(waiting: Waiting, texts: Texts) -> str:
    if waiting.sold_out:
        return ""
    if waiting.ahead is None:
        return _WORKING
    small = f"<small>{texts.of('room.place')}</small>"
    return f'<p class="place">{small}{texts.number(waiting.ahead + 1)}</p>{_WORKING}'


def _facts(waiting: Waiting, texts: Texts) -> str:
    facts: list[tuple[str, str]] = []
    if waiting.ahead is not None:
        facts.append((texts.of("room.ahead"), texts.number(waiting.ahead)))
    if waiting.ahead is not None and not waiting.sold_out:
        facts.append((texts.of("room.estimate"), _estimate(waiting, texts)))
    if waiting.since is not None:
        came = datetime.fromtimestamp(waiting.since, UTC)
        facts.append(
            (
                texts.of("room.since"),
                f'<time datetime="{came:%Y-%m-%dT%H:%M:%SZ}">{came:%H:%M} UTC</time>',
            )
        )
        facts.append((texts.of("room.waited"), texts.duration(max(0, waiting.now - waiting.since))))
    if not facts:
        return ""
    rows = "\n      ".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f"<dl>\n      {rows}\n    </dl>"


def _estimate(waiting: Waiting, texts: Texts) -> str:
    if waiting.eta_s is None:
        return texts.of("room.unknown_time")
    return texts.of("room.about", duration=texts.duration(waiting.eta_s))


def _advice(waiting: Waiting, texts: Texts) -> str:
    items = "\n      ".join(f"<li>{each}</li>" for each in _advices(waiting, texts))
    return f"<h2>{texts.of('room.advice')}</h2>\n    <ul>\n      {items}\n    </ul>"


def _advices(waiting: Waiting, texts: Texts) -> Iterable[str]:
    if waiting.repeats:
        yield texts.of("room.keep_open", duration=texts.duration(waiting.refresh_s))
    else:
        yield texts.of("room.form")
    if waiting.sold_out:
        yield texts.of("room.released")
        return
    if waiting.repeats:
        yield texts.of("room.turn")
    if waiting.since is not None:
        yield texts.of("room.absence", duration=texts.duration(round(waiting.reconnect_s)))
        yield texts.of("room.cookies")


def duration(seconds: int) -> str:
    """So many seconds in English, as one would say it."""
    return PageSet.shipped().room("en").texts.duration(seconds)
