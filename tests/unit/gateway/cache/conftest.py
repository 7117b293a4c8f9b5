"""A cache in front of an origin, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.cache.cache import ResponseCache
from gateway.cache.response_cache import response_cache
from gateway.config.policies import Cache
from gateway.http.message import Handler
from tests.unit.gateway.cache.cached_origin import (
    Clock,
    Marks,
    Origin,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def cache(clock: Clock) -> AsyncIterator[ResponseCache]:
    cache = ResponseCache(Cache(), clock=clock, now=clock.wall)
    yield cache
    await cache.close()


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.fixture
def cached(cache: ResponseCache, origin: Origin) -> Handler:
    return response_cache(cache)(origin)


@pytest.fixture
def marks() -> Marks:
    return Marks()
