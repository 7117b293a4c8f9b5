"""Hooks of mkdocs: the README is the first page, the reference comes from the program, and links to sources work.

The pages in docs/ are written for a reader of the repository; nothing in them is for the site alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
MERMAID = ROOT / ".venv-docs" / "mermaid.min.js"
LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the folders that have a page for each of many things; take the script of diagrams from a copy, not a CDN."""
    for section in config.nav or []:
        for title, pages in section.items():
            if isinstance(pages, str) and pages.endswith("/"):
                section[title] = [pages + path.name for path in _in_order(ROOT / "docs" / pages)]
    if MERMAID.exists():
        config.extra_javascript.append("mermaid.min.js")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are in no file of docs/."""
    for path, text in _reference().items():
        files.append(File.generated(config, path, content=text))
    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text(encoding="utf-8")))
    if MERMAID.exists():
        files.append(File.generated(config, MERMAID.name, abs_src_path=str(MERMAID)))
    for path in sorted(_sources()):
        files.append(_source(config, str(path.relative_to(ROOT)), path))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Point links of a page at the same things on the site: the README's at the pages, all at copies of sources."""
    uri = page.file.src_uri
    start = ROOT if uri == "index.md" else (ROOT / "docs" / uri).parent
    if uri.startswith("source/"):
        start = (ROOT / uri.removeprefix("source/")).parent
    depth = "../" * uri.count("/")
    return LINK.sub(lambda found: found[1] + _on_site(found[2], start, depth), markdown)


def _in_order(folder: Path) -> Iterator[Path]:
    """The pages of a folder, its README first."""
    yield folder / "README.md"
    yield from sorted(path for path in folder.glob("*.md") if path.name != "README.md")


def _reference() -> Mapping[str, str]:
    program = [ROOT / ".venv/bin/python", ROOT / "docs/site/reference.py"]
    printed = subprocess.run(program, check=True, capture_output=True, cwd=ROOT, env={**os.environ, "COLUMNS": "100"})
    return dict(json.loads(printed.stdout))


def _sources() -> set[Path]:
    """Files beside docs/ that the README or pages refer to, and those that these refer to in turn."""
    found: set[Path] = set()
    unread = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    while unread:
        page = unread.pop()
        for _, target in LINK.findall(page.read_text(encoding="utf-8")):
            path = _in_repository(target, page.parent)
            if path is None or path in found or ROOT / "docs" in path.parents or path == ROOT / "README.md":
                continue
            found.add(path)
            if path.suffix == ".md":
                unread.append(path)
    return found


def _in_repository(target: str, start: Path) -> Path | None:
    """The file that a relative link names, if there is one."""
    found = (start / target).resolve()
    return found if ":" not in target and found.is_file() and ROOT in found.parents else None


def _on_site(target: str, start: Path, depth: str) -> str:
    found = _in_repository(target, start)
    if found is None:
        return target
    if found == ROOT / "README.md":
        return f"{depth}index.md"
    if ROOT / "docs" in found.parents:
        return depth + str(found.relative_to(ROOT / "docs"))
    name = found.relative_to(ROOT)
    return f"{depth}source/{name}" + ("" if name.suffix in (".md", ".json", ".csv", ".svg") else ".txt")


def _source(config: MkDocsConfig, name: str, path: Path) -> File:
    """A copy of a source: a page where it is Markdown, else a text that browsers show."""
    suffix = "" if path.suffix in (".md", ".json", ".csv", ".svg") else ".txt"
    return File.generated(config, f"source/{name}{suffix}", abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV)
