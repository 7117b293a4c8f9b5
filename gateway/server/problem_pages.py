"""The page in place of a problem's JSON, for clients that prefer HTML."""

from __future__ import annotations

import re
from typing import Final, Protocol

from multidict import istr

from gateway.http.contained import FAILURES
from gateway.http.header_lines import add_vary
from gateway.http.message import Request, Response
from gateway.http.negotiation import MAX_CHARACTERS, prefers_html

_ACCEPT: Final = istr("Accept")
_PREFERENCE: Final = re.compile(rb"(?i)\r\n(accept(?:-language)?): ([ -~]*)")


class ProblemPages(Protocol):
    """Makes the pages that browsers get in place of problems."""

    def page_of(self, response: Response, request: Request) -> Response:
        """The page with the same status and header fields as the problem's response."""
        ...


def for_browser(pages: ProblemPages, response: Response, request: Request) -> Response:
    """The response of a problem, or its page for a client that prefers HTML."""
    accept = request.headers.get(_ACCEPT)
    # Most clients of the API accept JSON or anything, and need no further look.
    if accept is not None and accept.find("text/") >= 0:
        try:
            if prefers_html(accept[:MAX_CHARACTERS]):
                return pages.page_of(response, request)
        except Exception as error:  # noqa: BLE001 - the problem itself is a response too
            FAILURES.add("making a page", error)
    request.extra_headers = add_vary(request.extra_headers, b"Accept")
    return response


def preferences(head: bytes) -> dict[str, str]:
    """What a client prefers that sent an invalid message: a shopper whose cookies are too large gets a page too."""
    found: list[tuple[bytes, bytes]] = _PREFERENCE.findall(head)
    found.reverse()
    return {name.decode().title(): value.decode("latin-1") for name, value in found}
