"""The pages at `/problems/<slug>`: HTML for people, JSON for programs, after the field `Accept`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from html import escape
from http import HTTPStatus
from typing import Any, Final

import orjson

from gateway.api import examples
from gateway.api.problem_texts import EXPLANATIONS, Explanation
from gateway.http import problems
from gateway.http.endpoint import Endpoint
from gateway.http.html_page import HTML, PAGE_HEADERS, frame
from gateway.http.message import Handler, Request, Response, header
from gateway.http.negotiation import MAX_CHARACTERS, prefers_html
from gateway.http.own_paths import DOCS, PROBLEMS

# The members of every problem (RFC 9457, 3.1).
COMMON_MEMBERS: Final[Mapping[str, str]] = {
    "type": "The address of this page: the kind of problem. Programs compare it.",
    "title": "The name of the problem, always the same.",
    "status": "The status of the response.",
    "detail": "What happened this time, for people.",
    "instance": "The id of the request, which is also in X-Request-Id and in the logs of the server.",
}
_CACHING: Final = header("Cache-Control", "public, max-age=3600") + header("Vary", "Accept")
_HTML_FIELDS: Final = PAGE_HEADERS + _CACHING


def problem_endpoints(own_path: Callable[[str], str | None] = lambda path: path) -> Iterable[Endpoint]:
    """An endpoint for every problem, and one for their list. `own_path` says where an own path is served, if at all."""
    links = _links(own_path)
    rows = {row.slug: row for row in problems.ALL}
    yield Endpoint("GET", "/problems", _negotiated(_index_html(rows.values(), links), _index_json(rows.values())))
    for slug, row in rows.items():
        explanation = EXPLANATIONS[slug]
        yield Endpoint("GET", f"/problems/{slug}", _negotiated(_html(row, explanation, links), _json(row, explanation)))


def _negotiated(html: Response, json: Response) -> Handler:
    def handle(request: Request) -> Response:
        return html if prefers_html(request.headers.get("Accept", "")[:MAX_CHARACTERS]) else json

    return handle


def _json(row: problems.Problem, explanation: Explanation) -> Response:
    description: dict[str, Any] = {
        "type": row.opening["type"],
        "title": row.title,
        "status": row.status,
        "detail": row.detail,
        "occurs": explanation.occurs,
        "client": explanation.client,
        "members": {**COMMON_MEMBERS, **explanation.members},
        "example": examples.of_problem(row),
    }
    return Response(200, orjson.dumps(description), header_block=_CACHING)


def _html(row: problems.Problem, explanation: Explanation, links: str) -> Response:
    example = orjson.dumps(examples.of_problem(row), option=orjson.OPT_INDENT_2).decode()
    phrase = HTTPStatus(row.status).phrase
    members = "".join(_member(name, text) for name, text in {**explanation.members, **COMMON_MEMBERS}.items())
    content = (
        f"<h1>{escape(row.title)}</h1><p><code>{row.slug}</code>, status {row.status} {phrase}</p>"
        f"<p>{_text(row.detail)}</p>"
        f"<h2>When it occurs</h2><p>{_text(explanation.occurs)}</p>"
        f"<h2>What a client does</h2><p>{_text(explanation.client)}</p>"
        f"<h2>Members of the response</h2><ul>{members}</ul>"
        f"<h2>Example</h2><pre tabindex='0'>{escape(example)}</pre>"
    )
    return _page(content, title=row.title, links=links)


def _index_html(rows: Iterable[problems.Problem], links: str) -> Response:
    items = "".join(
        f'<li><a href="{row.opening["type"]}"><code>{row.slug}</code></a>, {row.status}: {escape(row.title)}</li>'
        for row in sorted(rows, key=lambda row: row.slug)
    )
    return _page(
        f"<h1>Problems</h1><p>Every type of error of this API.</p><ul>{items}</ul>", title="Problems", links=links
    )


def _index_json(rows: Iterable[problems.Problem]) -> Response:
    listed = [{"type": row.opening["type"], "title": row.title, "status": row.status} for row in rows]
    return Response(200, orjson.dumps({"problems": listed}), header_block=_CACHING)


def _links(own_path: Callable[[str], str | None]) -> str:
    named = ((PROBLEMS, "All problems"), (DOCS, "API reference"))
    return " · ".join(f'<a href="{own_path(path)}">{text}</a>' for path, text in named if own_path(path) is not None)


def _page(content: str, *, title: str, links: str) -> Response:
    html = frame(content, title=escape(title), footer=f"<p>{links}</p>")
    return Response(200, html.encode(), header_block=_HTML_FIELDS, content_type=HTML)


def _member(name: str, text: str) -> str:
    return f"<li><code>{escape(name)}</code>: {_text(text)}</li>"


def _text(text: str) -> str:
    """Text with names in backquotes as HTML."""
    pieces = escape(text, quote=False).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))
