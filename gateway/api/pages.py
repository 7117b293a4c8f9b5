"""Pages about the API: `/openapi.json`, `/docs`, and one for each problem type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import Final

import orjson

from gateway.api.binding import Route
from gateway.api.openapi import document
from gateway.api.problem_pages import problem_endpoints
from gateway.http.endpoint import Endpoint
from gateway.http.message import Response, header
from gateway.http.own_paths import DOCS, OPENAPI

_TYPES: Final = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
}
# The page loads its own files only, and sends requests to this server only.
_PAGE_HEADERS: Final = (
    header("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
    + header("X-Content-Type-Options", "nosniff")
    + header("Cache-Control", "no-cache")
)


def page_endpoints(
    routes: Iterable[Route], version: str, own_path: Callable[[str], str | None] = lambda path: path
) -> Sequence[Endpoint]:
    """The endpoints of all pages, rendered once, at the paths of the route table.

    `own_path` says where such a path is served, None where it is not; the pages name it so.
    """
    spec = orjson.dumps(document(routes, version, own_path), option=orjson.OPT_INDENT_2)
    endpoints = [_fixed("/openapi.json", Response(200, spec, header_block=header("Cache-Control", "no-cache")))]
    for file in resources.files("gateway.api").joinpath("docs_page").iterdir():
        suffix = file.name.rpartition(".")[2]
        if suffix not in _TYPES:
            continue
        path = "/docs" if file.name == "index.html" else f"/docs/{file.name}"
        response = Response(
            200, _with_own_paths(file.read_bytes(), own_path), header_block=_PAGE_HEADERS, content_type=_TYPES[suffix]
        )
        endpoints.append(_fixed(path, response))
    return [*endpoints, *problem_endpoints(own_path)]


def _with_own_paths(text: bytes, own_path: Callable[[str], str | None]) -> bytes:
    """The text of a file with the addresses where the reference and the document are served."""
    for path, start in ((DOCS, b'"%b/'), (OPENAPI, b'"%b"')):
        served = own_path(path)
        if served is not None:
            text = text.replace(start % path.encode(), start % served.encode())
    return text


def _fixed(path: str, response: Response) -> Endpoint:
    return Endpoint("GET", path, lambda _request: response)
