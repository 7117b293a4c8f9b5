"""What a client prefers: a page or JSON, and in which language."""

from __future__ import annotations

import pytest

from gateway.http.negotiation import preferred_language, prefers_html

LANGUAGES = ("en", "de", "fr", "es", "pt-br")
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (CHROME, True),
        ("text/html", True),
        ("text/*", True),
        ("Text/HTML;q=0.5, application/json;q=0.4", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("text/html;q=0.5, application/json", False),
        ("text/html, application/problem+json", False),
        ("text/html;q=0", False),
        ("text/css,*/*;q=0.1", False),
        ("image/avif,image/webp,*/*;q=0.8", False),
    ],
)
def test_a_page_is_for_clients_that_prefer_it_over_json(accept: str, html: bool) -> None:
    assert prefers_html(accept) is html


@pytest.mark.parametrize(
    ("accept_language", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", "fr"),
        ("en;q=0.5, es", "es"),
        ("pt-BR", "pt-br"),
        ("pt-PT, *;q=0.1", "en"),
        ("nl, da", "en"),
        ("nl, DE;q=0.1", "de"),
        ("de;q=0, fr;q=0.2", "fr"),
        ("en;q=0, *", "en"),
        ("", "en"),
        (";;q=,,de;q=x", "en"),
    ],
)
def test_the_language_is_the_best_one_that_there_is(accept_language: str, language: str) -> None:
    assert preferred_language(accept_language, LANGUAGES, "en") == language
