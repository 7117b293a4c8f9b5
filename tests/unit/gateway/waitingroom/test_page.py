"""The page of a waiting room: what it says, that it asks again by itself, and that it is a good page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from gateway.http.page_set import PageSet
from gateway.waitingroom.page import PAGE_HEADERS, Waiting, duration, page_of, render

NOW = 1_795_759_200


def page(**said: Any) -> str:
    resolve = {"ahead": 127, "eta_s": 130, "since": NOW - 180, "now": NOW, "refresh_s": 20, "reconnect_s": 60.0, **said}
    return render(Waiting(**resolve)).decode()


VARIANTS = [
    {},
    {"ahead": 0, "eta_s": 1},
    {"eta_s": None},
    {"ahead": None, "eta_s": None},
    {"ahead": None, "eta_s": None, "since": None},
    {"sold_out": True},
    {"repeats": False},
]


class Outline(HTMLParser):
    """What a reader of the page needs: its elements, in order, and whether each is closed."""

    VOID = frozenset({"meta", "link", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def count(self, tag: str) -> int:
        return sum(each == tag for each, _ in self.elements)


def test_the_page_tells_place_time_and_since_when() -> None:
    text = page()

    assert "<title>Place 128 in the queue</title>" in text
    assert ">128</p>" in text
    assert "<dt>Ahead of you</dt><dd>127</dd>" in text
    assert "<dt>Estimated time</dt><dd>about 2 minutes</dd>" in text
    assert '<time datetime="2026-11-27T05:57:00Z">05:57 UTC</time>' in text
    assert "<dt>Waited so far</dt><dd>3 minutes</dd>" in text


@pytest.mark.parametrize("said", VARIANTS, ids=str)
def test_every_page_is_well_formed_has_a_language_landmark_heading_and_status_and_no_script(
    said: dict[str, Any],
) -> None:
    text = page(**said)
    outline = Outline(text)

    assert ("html", {"lang": "en"}) in outline.elements
    assert [outline.count(tag) for tag in ("main", "h1", "title", "script", "img")] == [1, 1, 1, 0, 0]
    assert ("div", {"role": "status"}) in outline.elements
    assert "$" not in text
    assert "None" not in text


@pytest.mark.parametrize("said", VARIANTS[:-1], ids=str)
def test_the_page_refreshes_by_itself(said: dict[str, Any]) -> None:
    assert '<meta http-equiv="refresh" content="20">' in page(**said)


def test_the_response_to_a_form_does_not_refresh_and_gives_the_next_step() -> None:
    text = page(repeats=False)

    assert "refresh" not in text
    assert "send it again" in text


def test_a_page_of_something_sold_out_shows_no_time() -> None:
    text = page(sold_out=True)

    assert "<h1>Sold out</h1>" in text
    assert "Estimated time" not in text


def test_a_page_without_a_place_shows_none() -> None:
    text = page(ahead=None, eta_s=None)

    assert "Ahead of you" not in text
    assert "You have not lost it." in text
    assert "cannot give you a place" in page(ahead=None, eta_s=None, since=None)


def test_the_page_may_show_its_own_style_and_nothing_else() -> None:
    assert b"default-src 'none'; style-src 'sha256-" in PAGE_HEADERS
    assert b"unsafe" not in PAGE_HEADERS


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (150, "2 minutes"),
        (3599, "60 minutes"),
        (3600, "1 hour"),
        (3660, "1 hour 1 minute"),
        (7500, "2 hours 5 minutes"),
    ],
)
def test_times_are_said_as_people_say_them(seconds: int, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("de", ["<title>Platz 1.234 in der Warteschlange</title>", "<dd>etwa 2 Minuten</dd>"]),
        ("fr", ["<title>Place 1\u202f234 dans la file</title>", "<dd>environ 2 minutes</dd>"]),
        ("es", ["<title>Puesto 1.234 en la cola</title>", "<dd>aproximadamente 2 minutos</dd>"]),
    ],
)
def test_the_page_speaks_the_language_of_the_client(language: str, texts: list[str]) -> None:
    waiting = Waiting(ahead=1233, eta_s=130, since=NOW, now=NOW, refresh_s=20, reconnect_s=60.0)
    body, fields = page_of(waiting, PageSet.shipped(), accept_language=f"{language}-XX", request_id="4f0c")

    text = body.decode()
    assert f'<html lang="{language}">' in text
    assert [part for part in texts if part not in text] == []
    assert f"Content-Language: {language}\r\n".encode() in fields
    assert "4f0c" in text


def test_an_unknown_time_is_not_guessed() -> None:
    assert "<dt>Estimated time</dt><dd>not known yet</dd>" in page(eta_s=None)
