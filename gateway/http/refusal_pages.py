"""The page in place of a problem's JSON, for browsers: what happened, what to do, and when the page tries again."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

from gateway.http.header_lines import add_vary
from gateway.http.html_page import HTML
from gateway.http.message import Request, Response, header
from gateway.http.page_set import PageSet
from gateway.http.page_texts import Texts
from gateway.http.problems import Problem
from primitives.bounded_map import BoundedMap

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
_MAX_ENDINGS: Final = 2048
_RETRY_AFTER: Final = re.compile(rb"(?i)(?:^|\n)Retry-After: (\d{1,9})\r")
_POLICY: Final = re.compile(rb"(?i)Content-Security-Policy: [^\r]*\r\n")
_SELECTED_BY: Final = b"Accept, Accept-Language"
_NOSNIFF: Final = header("X-Content-Type-Options", "nosniff")
_REFERRER: Final = header("Referrer-Policy", "no-referrer")


class _Ending:
    """The end of a page: whether and when it reloads, and what else there is to do. Encoded once, as many requests share it."""

    __slots__ = ("header_block", "values")

    def __init__(self, pages: PageSet, texts: Texts, *, advice: str, seconds: int = 0) -> None:
        again = texts.of("words.try_again") if seconds else ""
        self.header_block = b"Refresh: %d\r\n" % seconds if seconds else b""
        self.values = {
            "refresh": b'<meta http-equiv="refresh" content="%d">' % seconds if seconds else b"",
            "advice": f"<p>{advice}</p>".encode() if advice else b"",
            "actions": pages.actions(texts, again).encode(),
        }


class RefusalPages:
    """Makes the pages of refusals."""

    def __init__(self, pages: PageSet, *, rng: Callable[[], float] = random.random) -> None:
        self._pages = pages
        self._rng = rng
        # By language, and seconds until the page reloads or the text for a form.
        self._endings: BoundedMap[tuple[str, int | str], _Ending] = BoundedMap(_MAX_ENDINGS)

    def page_of(self, response: Response, request: Request) -> Response:
        """The page with the same status and header fields as the problem's response."""
        problem = response.problem
        assert problem is not None
        page = self._pages.refusal(problem, request.headers.get("Accept-Language"))
        if request.method not in _SAFE:
            ending = self._ending(page.texts, _text_for_form(problem))
        else:
            ending = self._ending(page.texts, self._refresh_s(response) if problem.status in _RETRIED else "")
        body = page.fill({**ending.values, "request_id": request.id.encode()})
        header_block = response.header_block + page.header_block + ending.header_block + own_fields(request)
        made = Response(response.status, body, header_block=header_block, content_type=HTML)
        made.problem = problem  # for the access log
        return made

    def _ending(self, texts: Texts, key: int | str) -> _Ending:
        ending = self._endings.get((texts.lang, key))
        if ending is None:
            if isinstance(key, int):
                advice = texts.of("words.retry", duration=texts.duration(key))
                ending = _Ending(self._pages, texts, advice=advice, seconds=key)
            else:
                ending = _Ending(self._pages, texts, advice=texts.of(key) if key else "")
            self._endings.put((texts.lang, key), ending)
        return ending

    def _refresh_s(self, response: Response) -> int:
        """When the page reloads: no earlier than `Retry-After`, and spread."""
        found = _RETRY_AFTER.search(response.header_block)
        earliest_s = max(MIN_REFRESH_S, int(found[1]) if found is not None else 0)
        return earliest_s + int(self._rng() * (max(earliest_s / 2, MIN_SPREAD_S) + 1))


def own_fields(request: Request) -> bytes:
    """The security fields that a page adds to those of its route, whose own content policy is for data and is removed.

    What a page varies by goes into the one `Vary` of the request's fields.
    """
    extra = request.extra_headers
    if b"Content-Security-Policy" in extra:
        extra = _POLICY.sub(b"", extra)
    request.extra_headers = add_vary(extra, _SELECTED_BY)
    return (b"" if b"X-Content-Type-Options:" in extra else _NOSNIFF) + (
        b"" if b"Referrer-Policy:" in extra else _REFERRER
    )


def _text_for_form(problem: Problem) -> str:
    """A page does not send a form again by itself; this text says whether the form was carried out."""
    if problem.status < 500 and problem.status != 429:
        return ""
    is_uncertain = problem.status in _UNCERTAIN or problem.slug in _UNCERTAIN_SLUGS
    return "words.unknown_outcome" if is_uncertain else "words.not_done"
