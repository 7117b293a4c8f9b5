"""Tell browsers what they may do with an answer."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, after, header


def security_headers(fields: Mapping[str, str], *, where_missing: bool) -> Layer:
    """Add the fields (`{"referrer_policy": "no-referrer"}`) to each answer; empty ones are left out.

    With `where_missing`, an answer keeps what it says itself: a page knows what it may load.
    """
    lines = {name.replace("_", "-"): header(_title(name), value) for name, value in fields.items() if value}
    return _where_missing(lines) if where_missing else _always(b"".join(lines.values()))


def _title(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("_"))


def _always(lines: bytes) -> Layer:
    def layer(handler: Handler) -> Handler:
        def headed(request: Request) -> ResponseOrAwaitable:
            request.extra_headers += lines
            return handler(request)

        return headed

    return layer


def _where_missing(lines: dict[str, bytes]) -> Layer:
    def add(request: Request, response: Response) -> Response:
        said = b"\r\n" + response.header_block.lower()
        for name, line in lines.items():
            if b"\r\n%b:" % name.encode() not in said:
                request.extra_headers += line
        return response

    return lambda handler: after(handler, add)
