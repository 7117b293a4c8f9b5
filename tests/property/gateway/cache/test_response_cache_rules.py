"""Invariants of the response cache: its bound, its variants, responses that may never be stored."""

from __future__ import annotations

import ast
import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cache.cache import ResponseCache
from gateway.cache.cache_control import directives
from gateway.cache.memory_store import BoundedMemoryCache
from gateway.cache.model import Exchange, StaleDefaults
from gateway.cache.response_cache import response_cache
from gateway.cache.storability import storable
from gateway.config.policies import Cache
from gateway.http.message import Request, Response, header, resolve
from tests.unit.gateway.cache.cached_origin import Clock, get


class Thing:
    def __init__(self, size: int) -> None:
        self.size = size
        self.was_used = False


steps = st.lists(
    st.tuples(st.sampled_from(["place", "drop", "use", "resize"]), st.sampled_from("abcdefgh"), st.integers(0, 150)),
    max_size=60,
)


@given(steps)
def test_the_size_never_exceeds_the_bound(steps: list[tuple[str, str, int]]) -> None:
    alive: dict[str, Thing] = {}

    def dropped(key: str, thing: Thing) -> None:
        assert alive.pop(key) is thing

    cache: BoundedMemoryCache[Thing] = BoundedMemoryCache(100, dropped)
    for what, key, size in steps:
        if what == "place":
            thing = Thing(size)
            cache.entries[key] = thing
            if cache.entries.get(key) is thing:
                alive[key] = thing
        elif what == "drop":
            cache.entries.pop(key)
        elif what == "resize":
            cache.entries.resize(size)
        elif (used := cache.entries.get(key)) is not None:
            used.was_used = True
        assert cache.entries.bytes <= cache.entries.max_bytes
        assert cache.entries.bytes == sum(thing.size + 2 * len(key) for key, thing in cache.entries.items())
        assert dict(cache.entries) == alive


FIELDS = ("Accept", "Accept-Language", "X-Tier")
asking = st.tuples(
    st.sampled_from(["/a", "/b"]),
    st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(["", "x", "y"]), max_size=3),
    st.sets(st.sampled_from(FIELDS)),
    st.integers(0, 40),
)


@settings(deadline=None)
@given(st.lists(asking, max_size=25))
def test_no_request_is_served_a_variant_that_it_does_not_select(
    asked: list[tuple[str, dict[str, str], set[str], int]],
) -> None:
    clock = Clock()

    async def run() -> None:
        cache = ResponseCache(Cache(memory_bytes=20_000), clock=clock, now=clock.wall)
        varies: set[str] = set()

        def origin(request: Request) -> Response:
            # All fields that the response depends on are named, and only these make its body.
            body = repr([(name, request.headers.get(name)) for name in sorted(varies)]).encode()
            lines = header("Cache-Control", "max-age=60") + (header("Vary", ", ".join(varies)) if varies else b"")
            return Response(200, body, header_block=lines)

        cached = response_cache(cache)(origin)
        for target, headers, names, later_s in asked:
            varies.clear()
            varies.update(names)
            request = get(target)
            for name, value in headers.items():
                request.headers[name] = value  # type: ignore[index] # a test's own headers
            response = await resolve(cached(request))
            named: list[tuple[str, str | None]] = ast.literal_eval(response.body.decode())
            assert all(headers.get(name) == value for name, value in named)
            clock.time += later_s
            assert cache.snapshot()["bytes"] <= 20_000
        await cache.close()

    asyncio.run(run())


texts = st.text(alphabet='max-ge=10,"privtno-s\\; \tPRIVATE', max_size=40)
words = st.sampled_from(
    [
        "max-age=60",
        "s-maxage=9",
        "public",
        "no-cache",
        "must-revalidate",
        "must-understand",
        "immutable",
        'x="z',
        'y="a, b"',
        "=",
        "",
    ]
)


@given(
    st.lists(words),
    st.sampled_from(["private", "Private", 'private="a"', "no-store", "NO-STORE", "no-store=x"]),
    st.lists(words),
    st.booleans(),
)
def test_a_response_that_forbids_it_is_never_stored(
    before: list[str], forbids: str, after: list[str], is_signed_in: bool
) -> None:
    line = ", ".join([*before, forbids, *after])
    if "must-understand" in directives([line]) and "store" in forbids.lower():
        return
    exchange = Exchange(delay_s=0, received_at=0, has_credentials=is_signed_in)
    assert storable(200, {"cache-control": [line], "etag": ['"a"']}, exchange, StaleDefaults(60, 60)) is None


@given(st.lists(words))
def test_responses_to_credentials_are_stored_with_permission_only(said: list[str]) -> None:
    line = ", ".join(said)
    stored = storable(
        200,
        {"cache-control": [line], "etag": ['"a"']},
        Exchange(delay_s=0, received_at=0, has_credentials=True),
        StaleDefaults(),
    )
    if stored is not None:
        assert {"public", "must-revalidate", "s-maxage"} & directives([line]).keys()


values: st.SearchStrategy[Any] = st.lists(texts, max_size=3)


@given(st.integers(200, 599), values, values, values, values, st.floats(0, 1e6))
def test_no_header_field_raises_or_makes_an_endless_lifetime(
    status: int, control: list[str], expires: list[str], age: list[str], vary: list[str], delay_s: float
) -> None:
    fields = {"cache-control": control, "expires": expires, "age": age, "vary": vary, "date": expires}
    stored = storable(
        status,
        {name: value for name, value in fields.items() if value},
        Exchange(delay_s=delay_s, received_at=1e9),
        StaleDefaults(),
    )
    if stored is not None:
        assert 0 <= stored.lifetime_s <= 2**31
        assert stored.age_s >= delay_s
