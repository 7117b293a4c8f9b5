"""The representation that a client prefers: HTML or JSON, and the language of a page (RFC 9110, 12.5)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

# More of a field is not read; browsers send a fifth of it.
MAX_CHARACTERS: Final = 512


@lru_cache(maxsize=256)
def prefers_html(accept: str) -> bool:
    """Whether a client with this `Accept` prefers HTML over JSON (RFC 9110, 12.5.1). A tie is for JSON."""
    qualities = dict(_ranges(accept))
    anything = qualities.get("*/*", 0.0)
    html = qualities.get("text/html", qualities.get("text/*", anything))
    json = max(
        qualities.get(each, qualities.get("application/*", anything))
        for each in ("application/json", "application/problem+json")
    )
    return html > json


@lru_cache(maxsize=256)
def preferred_language(accept_language: str, languages: tuple[str, ...], default: str) -> str:
    """The language for this `Accept-Language`, of `languages` (tags in lower case), else `default` (RFC 4647, 3.4).

    `de-AT` matches `de` where there is no `de-at`. Of equal qualities the first wins.
    """
    qualities = dict(_ranges(accept_language))
    excluded = {tag for tag, quality in qualities.items() if not quality}
    for tag, quality in sorted(qualities.items(), key=lambda each: -each[1]):
        if not quality:
            continue
        found = default if tag == "*" else _look_up(tag, languages)
        if found is not None and found not in excluded:
            return found
    return default


def _look_up(tag: str, languages: tuple[str, ...]) -> str | None:
    """The language of the tag, or of its longest beginning that there is."""
    while tag:
        if tag in languages:
            return tag
        tag = tag.rpartition("-")[0]
    return None


def _ranges(field: str) -> Iterator[tuple[str, float]]:
    for part in field.lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        yield name, _quality(parameters)


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
