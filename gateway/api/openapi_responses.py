"""The responses of the OpenAPI document: every status and header field that an operation can have.

Statuses come from the handler (`Route.problems`), from the layers around it, and from the server that reads requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.api import examples
from gateway.api.binding import Route
from gateway.http import problem_body, problems

SCHEMAS: Final = "#/components/schemas/"
_HEADERS: Final = "#/components/headers/"

# Of the server, for any request.
_OF_SERVER: Final = (
    "malformed-request",
    "ambiguous-request",
    "request-timeout",
    "body-too-large",
    "target-too-long",
    "expectation-failed",
    "headers-too-large",
    "internal-error",
    "unknown-transfer-coding",
    "version-not-supported",
)
# Of the layers around the calls of shoppers.
_OF_LAYERS: Final = ("quota-exceeded", "overloaded", "waiting-room", "disabled", "dependency-unavailable")


def _header(description: str, example: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema, "examples": [example]}}


HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "X-Request-Id": _header("The id of the request, for the operator.", "4f0c2a7e9b31d586"),
    "RateLimit": _header(
        "What is left of each limit: `r` requests, and the seconds `t` until it is full again. Where limits apply.",
        '"per-address";r=12;t=3',
    ),
    "RateLimit-Policy": _header(
        "Each limit: `q` requests in `w` seconds. Where limits apply.", '"per-address";q=50;w=1'
    ),
    "Degraded": _header(
        "The parts of the response that are stale, local or missing. Absent if there is none.", "prices"
    ),
    "Retry-After": {
        "description": "The seconds after which the request may be repeated; they differ between clients.",
        "schema": {"type": "integer", "minimum": 0, "examples": [2]},
    },
    "ETag": _header("The entity tag of this representation.", '"2.6f1d0a3c"'),
    "Location": _header("The path of what was made.", "/v1/carts/7fmzxw6ylqnb2k3tgcvd5hsr4a"),
    "Idempotent-Replayed": _header("Present if this is the response of an earlier attempt.", "true", enum=["true"]),
    "WWW-Authenticate": _header("What is wrong with the credentials (RFC 6750).", 'Bearer realm="peakgate"'),
    "Cache-Control": _header("Who may cache the response, and for how long (RFC 9111).", "private, no-cache"),
    "Cache-Status": _header("How the response cache treated the request (RFC 9211).", "peakgate; hit; ttl=1"),
    "Age": {
        "description": "The seconds since the response was made, if it comes from the response cache.",
        "schema": {"type": "integer", "minimum": 0, "examples": [1]},
    },
    "Vary": _header("The request fields that select the response.", "Accept-Encoding"),
    "Content-Encoding": _header("The coding of the body, by `Accept-Encoding`.", "gzip", enum=["gzip", "br", "zstd"]),
    "Content-Language": _header("The language of a page.", "en"),
    "Refresh": _header("When a browser loads a page again, in seconds.", "12"),
    "Waiting-Room-Token": _header(
        "The place in the queue of a waiting room, or the pass of an admitted client. Send it with the next request.",
        "eyJxIjoiZHJvcCJ9.c2lnbmF0dXJl",
    ),
    "Set-Cookie": _header("The same, for browsers.", "peakgate-room=…; Path=/; HttpOnly"),
    "X-Accel-Buffering": _header("Tells proxies not to buffer the events.", "no"),
    "X-Content-Type-Options": _header("For browsers.", "nosniff"),
    "Referrer-Policy": _header("For browsers.", "no-referrer"),
    "Content-Security-Policy": _header("For browsers.", "default-src 'none'; frame-ancestors 'none'"),
    "Strict-Transport-Security": _header("For browsers, where the operator has set it.", "max-age=31536000"),
    "Access-Control-Allow-Origin": _header(
        "For browsers, where the operator allows other origins.", "https://shop.example"
    ),
    "Access-Control-Allow-Credentials": _header("For browsers, with credentials.", "true"),
    "Access-Control-Expose-Headers": _header(
        "The fields that scripts of other origins may read.", "ETag, X-Request-Id"
    ),
}
_OF_ALL: Final = ("X-Request-Id",)
_OF_SHOPPERS: Final = (
    "RateLimit",
    "RateLimit-Policy",
    "Degraded",
    "Waiting-Room-Token",
    "Set-Cookie",
    "Vary",
    "X-Content-Type-Options",
    "Referrer-Policy",
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Access-Control-Expose-Headers",
)
_LATER: Final = frozenset({429, 503})
# Browsers get pages in place of these, which the response's language and refresh belong to.
_PAGES: Final = ("Content-Language", "Refresh", "Cache-Control")


def responses(route: Route, schema_of: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """All responses of an operation, by status."""
    found = {route.status: _success(route, schema_of)}
    if "If-None-Match" in route.parameters:
        found[304] = _response(route, 304, "Not modified: the representation of `If-None-Match` is current", ["ETag"])
    if route.path == "/readyz":
        found[503] = {**_success(route, schema_of), "description": "Service Unavailable: no traffic for this worker"}
    if route.media_type == "text/event-stream":
        ended = (
            "No content: the order has ended, and the client has all of its events. An EventSource stops reconnecting"
        )
        found[204] = _response(route, 204, ended, ["Cache-Control"])
    by_status: dict[int, list[problems.Problem]] = {}
    for row in _rows(route):
        by_status.setdefault(row.status, []).append(row)
    for status, rows in by_status.items():
        found[status] = _problem_response(route, status, rows)
    return {str(status): found[status] for status in sorted(found)}


def shared(paths: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Move equal responses of several operations out of `paths`, which is changed; returns them by name."""
    seen: dict[bytes, str] = {}
    moved: dict[str, Any] = {}
    for operation in (operation for path in paths.values() for operation in path.values()):
        for status, response in operation["responses"].items():
            if int(status) < 400 or "application/problem+json" not in response.get("content", {}):
                continue
            key = msgspec.json.encode(response)
            if key not in seen:
                count = sum(name.startswith(f"Problem{status}") for name in moved)
                seen[key] = f"Problem{status}" + (f"_{count + 1}" if count else "")
                moved[seen[key]] = response
            operation["responses"][status] = {"$ref": f"#/components/responses/{seen[key]}"}
    return moved


def _rows(route: Route) -> Iterable[problems.Problem]:
    """The problems of an operation, each once."""
    by_slug = {row.slug: row for row in problems.ALL}
    slugs = [*route.problems, *_OF_SERVER]
    if _is_of_shoppers(route):
        slugs += _OF_LAYERS
    if route.body is not None:
        slugs.append("unsupported-media-type")
    if route.path == "/v1/checkout":
        slugs.append("sold-out")
    return [by_slug[slug] for slug in dict.fromkeys(slugs)]


def _is_of_shoppers(route: Route) -> bool:
    return route.tag != "health"


def _success(route: Route, schema_of: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    names: list[str] = []
    if route.etag is not None:
        names.append("ETag")
    if route.headers is not None or route.media_type is not None or not _is_of_shoppers(route):
        names.append("Cache-Control")
    if route.status in {201, 202} and route.headers is not None:
        names.append("Location")
    if route.path == "/v1/checkout":
        names.append("Idempotent-Replayed")
    if route.is_public:
        names += ["Cache-Status", "Age", "Content-Encoding"]
    if route.media_type is not None:
        names.append("X-Accel-Buffering")
    response = _response(route, route.status, _SUCCESS.get(route.status, "OK"), names)
    if route.media_type is not None:
        response["content"] = {route.media_type: {"schema": {"type": "string"}, "example": examples.EVENTS}}
    elif route.response is not None:
        example = msgspec.to_builtins(examples.RESPONSES[route.response])
        response["content"] = {"application/json": {"schema": schema_of[id(route.response)], "example": example}}
    return response


_SUCCESS: Final[Mapping[int, str]] = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No content",
}


def _problem_response(route: Route, status: int, rows: Sequence[problems.Problem]) -> dict[str, Any]:
    names = ["Retry-After"] if status in _LATER or any(row.retry_after_s is not None for row in rows) else []
    if status == 401:
        names.append("WWW-Authenticate")
    names += _PAGES if _is_of_shoppers(route) else ("Vary",)
    if route.is_public:
        names.append("Content-Encoding")
    description = "; ".join(f"`{row.slug}`: {row.title}" for row in rows)
    response = _response(route, status, description, names)
    response["content"] = {
        "application/problem+json": {
            "schema": {"$ref": SCHEMAS + problem_body.Problem.__name__},
            "examples": {
                row.slug: {"summary": row.title, "value": examples.of_problem(row, of_write=route.method != "GET")}
                for row in rows
            },
        }
    }
    return response


def _response(route: Route, status: int, description: str, names: Iterable[str]) -> dict[str, Any]:
    if route.is_public and status == 304:
        names = [*names, "Cache-Control", "Cache-Status", "Age"]
    elif status == 304:
        names = [*names, "Cache-Control"]
    fields = [*_OF_ALL, *names, *(_OF_SHOPPERS if _is_of_shoppers(route) else ())]
    return {
        "description": description or HTTPStatus(status).phrase,
        "headers": {name: {"$ref": _HEADERS + name} for name in fields},
    }
