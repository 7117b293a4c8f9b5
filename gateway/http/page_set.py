"""All pages of a gateway, rendered when its policies are loaded; a request only fills their gaps.

A folder of the operator may have a `page.html`, the frame of all pages; a page for one refusal by its slug or status,
`quota-exceeded.html` or `404.html`, or `waiting-room.html`; and texts, `de.toml`. A file that is broken is not used: the
next one that fits takes its place, in the end the one that is shipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from gateway.http.html_page import DARK, FRAME, LIGHT, Palette, content_policy, style, text_direction
from gateway.http.message import header
from gateway.http.negotiation import MAX_CHARACTERS, preferred_language
from gateway.http.page_texts import LANGUAGE_TAG, SHIPPED, Texts, TextsInvalid, read_texts, shipped
from gateway.http.problems import ALL, Problem

ROOM: Final = "waiting-room"
# The names that are filled for each request: of refusals, and of the waiting room.
GAPS: Final = ("refresh", "advice", "actions", "request_id")
ROOM_GAPS: Final = (*GAPS, "title", "heading", "message", "content", "facts")
_FRAME_NAME: Final = "page"
_MAX_BYTES: Final = 256 * 1024
_MARK: Final = "\x00"
_GAP: Final = re.compile("\x00([a-z_]+)\x00")
_STYLES: Final = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL | re.IGNORECASE)
_SCRIPT: Final = re.compile(r"<script\b|\son[a-z]+\s*=|\sstyle\s*=", re.IGNORECASE)
_TEMPLATE_NAME: Final = re.compile(r"[a-z0-9-]+")
_NO_STORE: Final = header("Cache-Control", "no-store")


@dataclass(frozen=True, slots=True)
class PageOptions:
    """How the pages look. `brand` is text, `home` the address of the shop; empty ones are not shown."""

    folder: Path | None = None
    brand: str = ""
    home: str = ""
    language: str = "en"
    light: Palette = field(default_factory=lambda: LIGHT)
    dark: Palette = field(default_factory=lambda: DARK)


class Page:
    """A rendered page with gaps. `header_block` is the same for every request."""

    __slots__ = ("_names", "_parts", "header_block", "texts")

    def __init__(self, text: str, texts: Texts, *, sources: str) -> None:
        pieces = _GAP.split(text)
        self.texts = texts
        self._parts = [piece.encode() for piece in pieces[::2]]
        self._names = pieces[1::2]
        self.header_block = content_policy(text, sources=sources) + header("Content-Language", texts.lang) + _NO_STORE

    def fill(self, values: Mapping[str, bytes]) -> bytes:
        """The whole page. The values are HTML in UTF-8."""
        parts = self._parts
        filled = [parts[0]]
        for name, part in zip(self._names, parts[1:], strict=True):
            filled += (values[name], part)
        return b"".join(filled)


class PageSet:
    """The pages by slug and language. `faults` names the files of the folder that are not used, and why."""

    def __init__(self, options: PageOptions) -> None:
        self.faults: list[str] = []
        self.warnings: list[str] = []
        self._options = options
        self._style = style(options.light, options.dark)
        self._templates = self._read_templates()
        self._texts = {texts.lang: texts for texts in self._read_texts()}
        self._languages = tuple(self._texts)
        self._default = options.language
        if options.language not in self._texts:
            self.faults.append(f"language: there is no {options.language}.toml; there is {', '.join(self._languages)}")
            self._default = "en"
        self._check_templates()
        self._pages = {
            (problem.slug, lang): self._refusal(problem, texts)
            for problem in ALL
            for lang, texts in self._texts.items()
        }
        self._rooms = {lang: self._room(texts) for lang, texts in self._texts.items()}

    @property
    def languages(self) -> Sequence[str]:
        """All languages, by their tags."""
        return self._languages

    def refusal(self, problem: Problem, accept_language: str | None) -> Page:
        """The page of a refusal, in the language that the client prefers."""
        return self._pages[problem.slug, self._language(accept_language)]

    def room(self, accept_language: str | None) -> Page:
        """The page of a waiting room."""
        return self._rooms[self._language(accept_language)]

    @staticmethod
    @cache
    def shipped() -> PageSet:
        """The pages without anything of an operator."""
        return PageSet(PageOptions())

    def actions(self, texts: Texts, again: str = "") -> str:
        """The links of a page: `again` loads the same address, and the shop's address follows if there is one."""
        home = self._options.home
        links = [f'<a class="button" href="">{again}</a>'] if again else []
        if home:
            links.append(f'<a class="button" href="{escape(home)}">{texts.of("words.home")}</a>')
        return f'<p class="actions">{" ".join(links)}</p>' if links else ""

    def _language(self, accept_language: str | None) -> str:
        if accept_language is None:
            return self._default
        return preferred_language(accept_language[:MAX_CHARACTERS], self._languages, self._default)

    # Rendering

    def _refusal(self, problem: Problem, texts: Texts) -> Page:
        title = texts.of_page(problem.slug, problem.status, "title")
        message = texts.of_page(problem.slug, problem.status, "message")
        gaps = {name: f"{_MARK}{name}{_MARK}" for name in GAPS}
        values = {
            "title": title,
            "heading": title,
            "message": message,
            "status": str(problem.status),
            "content": f"<h1>{title}</h1>\n    <p>{message}</p>\n    {gaps['advice']}\n    {gaps['actions']}",
            "facts": "",
            **gaps,
        }
        return self._render((problem.slug, str(problem.status), _FRAME_NAME), values, texts)

    def _room(self, texts: Texts) -> Page:
        gaps = {name: f"{_MARK}{name}{_MARK}" for name in ROOM_GAPS}
        return self._render((ROOM, _FRAME_NAME), {"status": "503", **gaps}, texts)

    def _render(self, names: Iterable[str], values: Mapping[str, str], texts: Texts) -> Page:
        template = next((self._templates[name] for name in names if name in self._templates), FRAME)
        return self._page(template, values, texts)

    def _page(self, template: str, values: Mapping[str, str], texts: Texts) -> Page:
        """The page of a template. Raises `KeyError` or `ValueError` if that is broken."""
        options = self._options
        brand = escape(options.brand)
        if options.home and brand:
            header_html = f'<header><a href="{escape(options.home)}">{brand}</a></header>'
        else:
            header_html = f"<header>{brand}</header>" if brand else ""
        reference = texts.of("words.reference", status=values["status"], request_id=values["request_id"])
        text = Template(template).substitute(
            values,
            lang=texts.lang,
            direction=texts.direction,
            dir=text_direction(texts.direction),
            style=self._style,
            brand=brand,
            home=escape(options.home),
            header=header_html,
            footer=f"<footer><p>{reference}</p></footer>",
        )
        # The operator's pages may show pictures, fonts and styles of their own site.
        own = template is not FRAME
        return Page(text, texts, sources="img-src 'self' data:; font-src 'self'" if own else "")

    # Files of the operator

    def _read_templates(self) -> dict[str, str]:
        templates = {}
        for file in self._files(".html"):
            if not _TEMPLATE_NAME.fullmatch(file.stem):
                self.faults.append(f"{file}: must be page.html, or the slug or status of a problem")
                continue
            try:
                templates[file.stem] = self._read(file)
            except (OSError, ValueError) as error:
                self.faults.append(f"{file}: {_reason(error)}")
        known = {_FRAME_NAME, ROOM, *(problem.slug for problem in ALL), *(str(problem.status) for problem in ALL)}
        for name in sorted(templates.keys() - known):
            self.faults.append(f"{self._options.folder}/{name}.html: there is no problem of that slug or status")
        return templates

    def _read_texts(self) -> Iterable[Texts]:
        entries = {lang: shipped(lang) for lang in SHIPPED}
        for file in self._files(".toml"):
            lang = file.stem.lower()
            if not LANGUAGE_TAG.fullmatch(lang):
                self.faults.append(f"{file}: must be named by the tag of its language, such as nl.toml")
                continue
            try:
                entries[lang] = read_texts(self._read(file), lang)
            except TextsInvalid as invalid:
                self.faults += [f"{file}: {each}" for each in invalid.errors]
            except (OSError, ValueError) as error:
                self.faults.append(f"{file}: {_reason(error)}")
        return [Texts(lang, each) for lang, each in entries.items()]

    def _files(self, suffix: str) -> Sequence[Path]:
        folder = self._options.folder
        if folder is None:
            return ()
        try:
            return sorted(file for file in folder.iterdir() if file.suffix == suffix)
        except OSError as error:
            fault = f"{folder}: {error.strerror}"
            if fault not in self.faults:
                self.faults.append(fault)
            return ()

    def _read(self, file: Path) -> str:
        content = file.read_bytes()
        if len(content) > _MAX_BYTES:
            raise ValueError(f"must be no longer than {_MAX_BYTES // 1024} KiB")
        text = content.decode("utf-8-sig")
        if _MARK in text:
            raise ValueError("holds a null character")
        return text

    def _check_templates(self) -> None:
        """Drop the templates that cannot be rendered."""
        texts = self._texts["en"]
        marks = {name: f"{_MARK}{name}{_MARK}" for name in ROOM_GAPS}
        for name, template in tuple(self._templates.items()):
            where = f"{self._options.folder}/{name}.html"
            fault = None
            try:
                self._page(template, {"status": "503", **marks}, texts)
                rendered = Template(template).safe_substitute(marks)
                if any(_MARK in each for each in _STYLES.findall(rendered)):
                    fault = "a <style> must be the same for every request"
                elif name == _FRAME_NAME and not any(
                    f"{_MARK}{each}{_MARK}" in rendered for each in ("content", "message")
                ):
                    fault = "must have $content, or $heading and $message"
            except KeyError as error:
                fault = f"there is no ${error.args[0]} here"
            except ValueError:
                fault = "a $ that begins no name is written $$"
            if fault is not None:
                self.faults.append(f"{where}: {fault}")
                del self._templates[name]
            elif _SCRIPT.search(template):
                self.warnings.append(
                    f"{where}: scripts and style attributes do not work: the Content-Security-Policy of the pages forbids them"
                )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    return "must be UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
