"""`Cache-Status` of responses that are not hits (RFC 9211), and the fields that only caches may see."""

from __future__ import annotations

import re
from typing import Final

from gateway.cache.header_block import NOT_SENT, without_fields
from gateway.http.message import Request, Response

# Reasons for forwarding a request to the origin (RFC 9211, 2.2).
BYPASS: Final = b"bypass"
METHOD: Final = b"method"
URI_MISS: Final = b"uri-miss"
VARY_MISS: Final = b"vary-miss"
STALE: Final = b"stale"
REQUEST: Final = b"request"

_MAY_HAVE_NOT_SENT: Final = re.compile("|".join(sorted(NOT_SENT)).encode(), re.IGNORECASE)


def forwarded(request: Request, response: Response, reason: bytes, *, is_stored: bool = False) -> Response:
    """A response of the origin as it is sent to the client, with `Cache-Status` in the extra header fields."""
    stored = b"; stored" if is_stored else b""
    request.extra_headers += b"Cache-Status: peakgate; fwd=%b; fwd-status=%d%b\r\n" % (reason, response.status, stored)
    if _MAY_HAVE_NOT_SENT.search(response.header_block) is None:
        return response
    return response.with_header_block(without_fields(response.header_block, NOT_SENT))
