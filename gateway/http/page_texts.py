"""The texts of the pages in one language, from a TOML file. docs/pages.md lists what the files hold."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from importlib import resources
from string import Template
from typing import Any, Final

SHIPPED: Final = ("en", "de", "fr", "es")
LANGUAGE_TAG: Final = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8})*")
_PAGE_KEY: Final = re.compile(r"pages\.[a-z0-9-]+\.(?:title|message)")
_RIGHT_TO_LEFT: Final = frozenset({"ar", "fa", "he", "ur", "yi", "ps", "dv", "ckb"})


class TextsInvalid(Exception):
    """A file of texts cannot be used; `errors` has a line for each error."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class Texts:
    """The texts of one language. They are HTML: what the file holds is escaped."""

    def __init__(self, lang: str, entries: Mapping[str, str]) -> None:
        self.lang = lang
        self.direction = "rtl" if lang.partition("-")[0] in _RIGHT_TO_LEFT else "ltr"
        self._entries = entries
        self._durations: dict[int, str] = {}

    def of(self, key: str, /, **values: str) -> str:
        """The text of a key, with its `$names` replaced by `values`, which are HTML."""
        text = self._entries[key]
        return Template(text).safe_substitute(values) if values else text

    def of_page(self, slug: str, status: int, part: str) -> str:
        """The `title` or `message` of a refusal, by its slug, else by its status, else by the class of that."""
        entries = self._entries
        for name in (slug, str(status), "500" if status >= 500 else "400"):
            if (text := entries.get(f"pages.{name}.{part}")) is not None:
                return text
        raise KeyError(part)

    def number(self, number: int) -> str:
        """A number with the separators of the language."""
        return f"{number:,}".replace(",", self._entries["thousands"])

    def duration(self, seconds: int) -> str:
        """So many seconds, as one would say it."""
        known = self._durations.get(seconds)
        if known is None:
            known = self._duration(seconds)
            # A day of seconds has fewer different texts than this.
            if len(self._durations) < 4096:
                self._durations[seconds] = known
        return known

    def _duration(self, seconds: int) -> str:
        if seconds < 60:
            return self._count("second", seconds)
        if seconds < 3600:
            return self._count("minute", round(seconds / 60))
        hours, minutes = divmod(round(seconds / 60), 60)
        return self._count("hour", hours) + (f" {self._count('minute', minutes)}" if minutes else "")

    def _count(self, unit: str, number: int) -> str:
        form = "one" if number == 1 else "other"
        return Template(self._entries[f"durations.{unit}.{form}"]).safe_substitute(n=self.number(number))


@cache
def shipped(lang: str) -> Mapping[str, str]:
    """The entries of a shipped language."""
    file = resources.files("gateway.http").joinpath("html", f"{lang}.toml")
    return _entries(tomllib.loads(file.read_text(encoding="utf-8")))


def read_texts(text: str, lang: str) -> Mapping[str, str]:
    """The entries of a file of the operator, over those of the shipped language, or else of English.

    Raises `TextsInvalid`.
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TextsInvalid([f"is not TOML: {error}"]) from None
    try:
        entries = _entries(values)
    except TypeError as error:
        raise TextsInvalid([str(error)]) from None
    base = shipped(lang if lang in SHIPPED else "en")
    errors = [fault for key, each in entries.items() if (fault := _fault(key, each))]
    if errors:
        raise TextsInvalid(errors)
    return {**base, **entries}


def _fault(key: str, text: str) -> str | None:
    known = shipped("en")
    if key not in known and not _PAGE_KEY.fullmatch(key):
        close = difflib.get_close_matches(key, known, 1)
        return f"{key}: there is no such key" + (f"; did you mean {close[0]}?" if close else "")
    names = set(Template(text).get_identifiers()) if Template(text).is_valid() else None
    if names is None:
        return f"{key}: a $ that begins no name is written $$"
    unknown = names - set(Template(known.get(key, "")).get_identifiers())
    return f"{key}: there is no ${min(unknown)} here" if unknown else None


def _entries(values: Mapping[str, Any]) -> Mapping[str, str]:
    return {key: escape(text) for key, text in _flat(values, ())}


def _flat(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        key = ".".join((*path, name))
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, dict):
            yield from _flat(value, (*path, name))
        elif isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value):
            yield f"{key}.one", value[0]
            yield f"{key}.other", value[1]
        else:
            raise TypeError(f"{key}: must be text in quotes, or a list of two")
