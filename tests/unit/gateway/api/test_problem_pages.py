"""The type of every problem leads to a page that explains it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import orjson
import pytest

from gateway.api import examples
from gateway.api.pages import page_endpoints
from gateway.api.problem_pages import COMMON_MEMBERS
from gateway.api.problem_texts import EXPLANATIONS
from gateway.http import problems
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response

ENDPOINTS = {endpoint.path: endpoint for endpoint in page_endpoints((), "0")}
ROWS = {row.slug: row for row in problems.ALL}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def get(path: str, accept: str = "*/*") -> Response:
    endpoint: Endpoint = ENDPOINTS[path]
    response = endpoint.handler(Request("GET", path, "", {"Accept": accept}, b"", "id", ()))
    assert isinstance(response, Response)
    return response


class _Tags(HTMLParser):
    """Fails where a tag is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_exactly_the_problems_are_explained() -> None:
    assert set(EXPLANATIONS) == set(ROWS)


@pytest.mark.parametrize("slug", ROWS)
def test_a_program_gets_the_explanation_as_json(slug: str) -> None:
    for accept in ("*/*", "application/json", ""):
        response = get(f"/problems/{slug}", accept)
        assert (response.status, response.content_type) == (200, b"application/json")
        page = orjson.loads(response.body)
        assert (page["type"], page["status"], page["title"]) == (
            f"/problems/{slug}",
            ROWS[slug].status,
            ROWS[slug].title,
        )
        assert page["occurs"].endswith(".")
        assert page["client"].endswith(".")
        assert page["example"]["type"] == f"/problems/{slug}"
        assert set(page["example"]) <= set(page["members"])


@pytest.mark.parametrize("slug", ROWS)
def test_a_browser_gets_the_explanation_as_a_page(slug: str) -> None:
    response = get(f"/problems/{slug}", BROWSER)
    assert response.content_type == b"text/html; charset=utf-8"
    assert b"Content-Security-Policy: default-src 'none'" in response.header_block
    assert b"Vary: Accept" in response.header_block
    page = response.body.decode()
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert "`" not in page.partition("<pre")[0]
    for heading in ("When it occurs", "What a client does", "Members of the response", "Example"):
        assert f"<h2>{heading}</h2>" in page
    for member in {*COMMON_MEMBERS, *EXPLANATIONS[slug].members}:
        assert f"<code>{member}</code>" in page
    assert not re.search(r"<script|\son\w+=|https?://", page)


def test_every_member_of_an_explanation_is_in_the_example() -> None:
    for slug, explanation in EXPLANATIONS.items():
        assert set(explanation.members) <= set(examples.of_problem(ROWS[slug])), slug


def test_the_list_leads_to_every_page() -> None:
    listed = orjson.loads(get("/problems").body)["problems"]
    assert {each["type"] for each in listed} == {f"/problems/{slug}" for slug in ROWS}
    page = get("/problems", BROWSER).body.decode()
    assert {f"/problems/{slug}" for slug in ROWS} == set(re.findall(r'href="(/problems/[^"]+)"', page))
