"""The token of a request."""

from __future__ import annotations


def cookie(cookies: str, start: str) -> str | None:
    """The value of the first cookie whose `name=` is `start`, None if there is none (RFC 6265, 4.2.1)."""
    at = cookies.find(start)
    while at > 0 and cookies[at - 1] not in "; ":
        at = cookies.find(start, at + 1)
    if at < 0:
        return None
    end = cookies.find(";", at)
    return cookies[at + len(start) : end if end > 0 else None].rstrip()
