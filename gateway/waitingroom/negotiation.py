"""The token of a request, and whether its client prefers a page."""

from __future__ import annotations

from functools import lru_cache


def cookie(cookies: str, start: str) -> str | None:
    """The value of the first cookie whose `name=` is `start`, None if there is none (RFC 6265, 4.2.1)."""
    at = cookies.find(start)
    while at > 0 and cookies[at - 1] not in "; ":
        at = cookies.find(start, at + 1)
    if at < 0:
        return None
    end = cookies.find(";", at)
    return cookies[at + len(start) : end if end > 0 else None].rstrip()


@lru_cache(maxsize=256)
def prefers_html(accept: str) -> bool:
    """Whether a client with this `Accept` prefers HTML over JSON (RFC 9110, 12.5.1). A tie is for JSON."""
    qualities = dict(map(_media_range, accept.lower().split(",")))
    anything = qualities.get("*/*", 0.0)
    html = qualities.get("text/html", qualities.get("text/*", anything))
    json = max(
        qualities.get(each, qualities.get("application/*", anything))
        for each in ("application/json", "application/problem+json")
    )
    return html > json


def _media_range(part: str) -> tuple[str, float]:
    name, *parameters = (each.strip() for each in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0
