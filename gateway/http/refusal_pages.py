"""The page in place of a problem's JSON, for browsers: what happened, what to do, and when the page tries again."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

from gateway.http.header_lines import add_vary, without_lines
from gateway.http.html_page import HTML
from gateway.http.message import Request, Response, header
from gateway.http.page_set import Page, PageSet

# Statuses of refusals that are likely to be over soon.
_RETRIED: Final = frozenset({429, 502, 503, 504})
# The handler of these may have begun: the gateway, or the upstream, failed on the way.
_UNCERTAIN: Final = frozenset({500, 502, 504})
_UNCERTAIN_SLUGS: Final = frozenset({"dependency-unavailable"})
_SAFE: Final = frozenset({"GET", "HEAD"})
# A browser that reloads sooner costs more than it gains.
MIN_REFRESH_S: Final = 5
# Pages that were refused together reload over half as long again, and over this long at least.
MIN_SPREAD_S: Final = 5
_RETRY_AFTER: Final = re.compile(rb"(?i)(?:^|\n)Retry-After: (\d{1,9})\r")
_POLICY: Final = re.compile(rb"(?i)Content-Security-Policy: [^\r]*\r\n")
_NOSNIFF: Final = header("X-Content-Type-Options", "nosniff")
_REFERRER: Final = header("Referrer-Policy", "no-referrer")


class RefusalPages:
    """Makes the pages of refusals."""

    def __init__(self, pages: PageSet, *, rng: Callable[[], float] = random.random) -> None:
        self._pages = pages
        self._rng = rng

    def page_of(self, response: Response, request: Request) -> Response:
        """The page with the same status and header fields as the problem's response."""
        problem = response.problem
        assert problem is not None
        page = self._pages.refusal(problem, request.headers.get("Accept-Language"))
        texts = page.texts
        header_block = response.header_block + page.header_block
        refresh, advice, again = "", "", ""
        if request.method not in _SAFE:
            advice = _advice_for_form(page, problem.status, problem.slug)
        elif problem.status in _RETRIED:
            seconds = self._refresh_s(response)
            refresh = f'<meta http-equiv="refresh" content="{seconds}">'
            header_block += b"Refresh: %d\r\n" % seconds
            advice = f"<p>{texts.of('words.retry', duration=texts.duration(seconds))}</p>"
            again = texts.of("words.try_again")
        body = page.fill(
            {
                "refresh": refresh,
                "advice": advice,
                "actions": self._pages.actions(texts, again),
                "request_id": request.id,
            }
        )
        header_block += own_fields(request)
        if b"Vary: " in request.extra_headers:
            # One field with those that layers have added.
            header_block = without_lines(header_block, (b"vary:",))
            request.extra_headers = add_vary(request.extra_headers, b"Accept, Accept-Language")
        return Response(response.status, body, header_block=header_block, content_type=HTML)

    def _refresh_s(self, response: Response) -> int:
        """When the page reloads: no earlier than `Retry-After`, and spread."""
        found = _RETRY_AFTER.search(response.header_block)
        earliest_s = max(MIN_REFRESH_S, int(found[1]) if found is not None else 0)
        return earliest_s + int(self._rng() * (max(earliest_s / 2, MIN_SPREAD_S) + 1))


def own_fields(request: Request) -> bytes:
    """The security fields that a page adds to those of its route, whose own content policy is for data and is removed."""
    extra = request.extra_headers = _POLICY.sub(b"", request.extra_headers)
    return (b"" if b"X-Content-Type-Options:" in extra else _NOSNIFF) + (
        b"" if b"Referrer-Policy:" in extra else _REFERRER
    )


def _advice_for_form(page: Page, status: int, slug: str) -> str:
    """A page does not send a form again by itself; it says whether the form was carried out."""
    if status < 500 and status != 429:
        return ""
    is_uncertain = status in _UNCERTAIN or slug in _UNCERTAIN_SLUGS
    return f"<p>{page.texts.of('words.unknown_outcome' if is_uncertain else 'words.not_done')}</p>"
