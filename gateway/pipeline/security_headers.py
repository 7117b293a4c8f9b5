"""Security header fields of every response, such as `Strict-Transport-Security` and `Content-Security-Policy`."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.http.message import Handler, Layer, Request, ResponseOrAwaitable, header
from gateway.pipeline.response_fields import response_fields


def security_headers(fields: Mapping[str, str], *, where_missing: bool) -> Layer:
    """Add the fields (`{"referrer_policy": "no-referrer"}`) to each response; empty ones are left out.

    With `where_missing`, a field that the response sets itself stays: a page knows which resources it loads.
    """
    lines = security_header_lines(fields)
    return response_fields(lines) if where_missing else _always(b"".join(lines.values()))


def _always(header_block: bytes) -> Layer:

    def layer(handler: Handler) -> Handler:
        def add(request: Request) -> ResponseOrAwaitable:
            request.extra_headers += header_block
            return handler(request)

        return add

    return layer


def security_header_lines(fields: Mapping[str, str]) -> dict[str, bytes]:
    """The field lines that `security_headers` adds to each response, by their names in lower case."""
    return {name.replace("_", "-"): header(_title(name), value) for name, value in fields.items() if value}


def _title(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("_"))
