"""Requests and responses of the admin API: JSON bodies, and problems (RFC 9457)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, TypeVar

import msgspec
import orjson
from aiohttp import web

from cart.body_faults import fault_of, malformed
from gateway.admin.act_log import note_arguments

T = TypeVar("T", bound=msgspec.Struct)

_MAX_KEY: Final = 200

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Problem(Exception):
    """An error response (RFC 9457)."""

    def __init__(self, status: int, slug: str, title: str, **members: Any) -> None:
        super().__init__(title)
        self.status = status
        self.body = {"type": f"/problems/{slug}", "title": title, "status": status, **members}


def json_response(status: int, value: Any) -> web.Response:
    """A response with this value."""
    body = orjson.dumps(msgspec.to_builtins(value), option=orjson.OPT_APPEND_NEWLINE)
    return web.Response(status=status, body=body, content_type="application/json", headers=HEADERS)


async def read_body(request: web.Request, kind: type[T], *, logged: Collection[str] | None = None) -> T:
    """The body as `kind`. Its members, or those that are `logged`, go into the log of acts. Raises `Problem`."""
    try:
        decoded = msgspec.json.decode(await request.read() or b"{}", type=kind)
    except msgspec.ValidationError as error:
        place, detail = fault_of(error, kind)
        raise invalid(f"{place or 'the body'} {detail}") from error
    except msgspec.DecodeError as error:
        raise Problem(400, "malformed-json", "Malformed JSON", detail=f"The body {malformed(error)}.") from error
    members = msgspec.to_builtins(decoded)
    note_arguments(request, {name: members[name] for name in members if logged is None or name in logged})
    return decoded


def invalid(detail: str) -> Problem:
    """The problem of a body or query that cannot be used."""
    return Problem(422, "invalid-body", "Invalid body", detail=detail)


def page_limit(request: web.Request, most: int) -> int:
    """The `limit` of a page, 100 where it is absent. Raises `Problem`."""
    text = request.query.get("limit", "100")
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= most):
        raise invalid(f"limit must be a number from 1 to {most}")
    return int(text[:6])


def idempotency_key(request: web.Request) -> str:
    """The key of a correction. Raises `Problem`."""
    key = request.headers.get("Idempotency-Key", "")
    if not 0 < len(key) <= _MAX_KEY:
        raise Problem(
            400,
            "idempotency-key-missing",
            "Idempotency key missing",
            detail=f"Send an Idempotency-Key of up to {_MAX_KEY} characters: a correction that is asked for twice "
            "with one key is made once.",
        )
    return key
