"""The runbooks of docs/runbooks/ as pages of the console: the operator who needs one may have no other way to it.

A wheel has a copy beside this module (see setup.py); a checkout has the originals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt

_COPY: Final = Path(__file__).parent / "runbooks"
_ORIGINALS: Final = Path(__file__).parents[3] / "docs" / "runbooks"
# A link to a runbook; others lead out of this folder, to pages that only the documentation has.
_TO_RUNBOOK: Final = re.compile(r'href="([a-z-]+|README)\.md(#[a-z-]+)?"')
_ELSEWHERE: Final = re.compile(r'<a href="\.\./[^"]*">(.*?)</a>')
INDEX: Final = "index"


@cache
def _pages() -> Mapping[str, Path]:
    folder = _COPY if _COPY.exists() else _ORIGINALS
    return {_page(path.stem): path for path in folder.glob("*.md")}


@cache
def runbook(name: str) -> tuple[str, str] | None:
    """Title and HTML of a runbook, or of the list of all as `index`; None if there is none of this name."""
    path = _pages().get(name)
    if path is None:
        return None
    text = path.read_text(encoding="utf-8")
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    html = _TO_RUNBOOK.sub(lambda found: f'href="/console/runbooks/{_page(found[1])}"', html)
    title = text.partition("\n")[0].removeprefix("# ")
    return escape(title), _ELSEWHERE.sub(r"\1", html)


def _page(name: str) -> str:
    return INDEX if name == "README" else name
