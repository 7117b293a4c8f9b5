"""The addresses that a successful unsafe request has changed (RFC 9111, 4.4). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit

from gateway.cache.header_block import parse_fields
from gateway.http.message import Request, Response


def changed_addresses(request: Request, response: Response) -> Sequence[str]:
    """The request's own address, and those of `Location` and `Content-Location` on the same host."""
    target = f"{request.path}?{request.query}" if request.query else request.path
    host = request.headers.get("Host", "").lower()
    base = f"http://{host}{target}"
    changed = {target, request.path}
    fields = parse_fields(response.header_block)
    for value in (*fields.get("location", ()), *fields.get("content-location", ())):
        try:
            parts = urlsplit(urljoin(base, value))
        except ValueError:
            continue
        if parts.netloc.lower() == host:
            changed.add(f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/")
    return sorted(changed)
