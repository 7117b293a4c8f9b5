"""The page at /docs is complete and loads nothing from other hosts."""

import re
from pathlib import Path

from gateway.api.pages import page_endpoints

PAGE = Path(__file__).parents[3] / "gateway" / "api" / "docs_page"
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(PAGE.iterdir())}


def test_the_page_references_no_other_host() -> None:
    for name, text in TEXTS.items():
        assert not re.search(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text, re.IGNORECASE), name
        assert "@import" not in text, name
        assert "url(" not in text, name


def test_every_file_the_page_loads_is_shipped() -> None:
    linked = set(re.findall(r'(?:href|src)="/docs/([^"]+)"', TEXTS["index.html"]))
    imported = {name for text in TEXTS.values() for name in re.findall(r'from "\./([^"]+)"', text)}
    assert linked | imported | {"index.html"} == set(TEXTS)


def test_every_file_of_the_page_is_served_at_the_path_the_page_loads() -> None:
    served = {endpoint.path for endpoint in page_endpoints((), "0")}
    assert {"/docs", "/openapi.json", *(f"/docs/{name}" for name in TEXTS if name != "index.html")} <= served


def test_the_page_works_under_its_content_security_policy() -> None:
    page = TEXTS["index.html"]
    assert "<style" not in page
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"\s(?:style|on\w+)=", page)
    assert not re.search(
        r"\.(?:innerHTML|outerHTML|style)\b|insertAdjacentHTML|\beval\(",
        TEXTS["docs.js"] + TEXTS["dom.js"] + TEXTS["tryit.js"],
    )
