"""Directives of requests, and reuse under them (RFC 9111, 5.2.1)."""

from __future__ import annotations

import math

import pytest

from gateway.cache.freshness import reuse
from gateway.cache.model import Freshness, RequestDirectives, Reuse
from gateway.cache.request_directives import request_directives

# 5.2.1: directives of requests


@pytest.mark.parametrize(
    ("lines", "pragma", "wanted"),
    [
        ([], None, RequestDirectives()),
        ([], "no-cache", RequestDirectives(no_cache=True)),
        (["max-age=5"], "no-cache", RequestDirectives(max_age_s=5)),
        (["no-cache, no-store"], None, RequestDirectives(no_cache=True, no_store=True)),
        (["only-if-cached", "max-stale"], None, RequestDirectives(only_if_cached=True, max_stale_s=math.inf)),
        (["max-stale=5, min-fresh=3"], None, RequestDirectives(max_stale_s=5, min_fresh_s=3)),
        (
            ["max-age=x, max-stale=x, min-fresh=x"],
            None,
            RequestDirectives(max_age_s=0, max_stale_s=0, min_fresh_s=math.inf),
        ),
    ],
)
def test_malformed_request_directives_take_their_strictest_meaning(
    lines: list[str], pragma: str | None, wanted: RequestDirectives
) -> None:
    assert request_directives(lines, pragma) == wanted


FRESH_60 = Freshness(0, 60)


@pytest.mark.parametrize(
    ("response", "age_s", "wanted", "verdict"),
    [
        (FRESH_60, 59, RequestDirectives(), Reuse.FRESH),
        (FRESH_60, 60, RequestDirectives(), Reuse.EXPIRED),
        (FRESH_60, 0, RequestDirectives(no_cache=True), Reuse.EXCLUDED),
        (FRESH_60, 5, RequestDirectives(max_age_s=5), Reuse.FRESH),
        (FRESH_60, 6, RequestDirectives(max_age_s=5), Reuse.EXCLUDED),
        (FRESH_60, 50, RequestDirectives(min_fresh_s=10), Reuse.FRESH),
        (FRESH_60, 51, RequestDirectives(min_fresh_s=10), Reuse.EXCLUDED),
        (FRESH_60, 65, RequestDirectives(max_stale_s=5), Reuse.STALE),
        (FRESH_60, 66, RequestDirectives(max_stale_s=5), Reuse.EXPIRED),
        (FRESH_60, 9999, RequestDirectives(max_stale_s=math.inf), Reuse.STALE),
        (Freshness(0, 60, 10), 60, RequestDirectives(), Reuse.STALE_WHILE_REVALIDATE),
        (Freshness(0, 60, 10), 69, RequestDirectives(), Reuse.STALE_WHILE_REVALIDATE),
        (Freshness(0, 60, 10), 70, RequestDirectives(), Reuse.EXPIRED),
        (Freshness(0, 60, 10), 61, RequestDirectives(min_fresh_s=1), Reuse.EXPIRED),
        (Freshness(0, 60, always_validate=True), 0, RequestDirectives(), Reuse.EXPIRED),
        (Freshness(0, 60, 10, never_stale=True), 61, RequestDirectives(), Reuse.EXPIRED),
    ],
)
def test_reuse_of_a_stored_response(
    response: Freshness, age_s: float, wanted: RequestDirectives, verdict: Reuse
) -> None:
    assert reuse(response, age_s, wanted) is verdict
