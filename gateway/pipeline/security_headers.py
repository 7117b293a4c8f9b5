"""Security header fields of every response, such as `Strict-Transport-Security` and `Content-Security-Policy`."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, after, header


def security_headers(fields: Mapping[str, str], *, where_missing: bool) -> Layer:
    """Add the fields (`{"referrer_policy": "no-referrer"}`) to each response; empty ones are left out.

    With `where_missing`, a field that the response sets itself stays: a page knows which resources it loads.
    """
    return _where_missing(_lines(fields)) if where_missing else _always(security_header_block(fields))


def security_header_block(fields: Mapping[str, str]) -> bytes:
    """The field lines that `security_headers` adds to each response."""
    return b"".join(_lines(fields).values())


def _lines(fields: Mapping[str, str]) -> dict[str, bytes]:
    return {name.replace("_", "-"): header(_title(name), value) for name, value in fields.items() if value}


def _title(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("_"))


def _always(header_block: bytes) -> Layer:
    def layer(handler: Handler) -> Handler:
        def add(request: Request) -> ResponseOrAwaitable:
            request.extra_headers += header_block
            return handler(request)

        return add

    return layer


def _where_missing(lines: dict[str, bytes]) -> Layer:
    def add(request: Request, response: Response) -> Response:
        present = b"\r\n" + response.header_block.lower()
        for name, line in lines.items():
            if b"\r\n%b:" % name.encode() not in present:
                request.extra_headers += line
        return response

    return lambda handler: after(handler, add, "the security header fields")
