"""The load generator's scripts against a fake gateway. wrk is a tool of the benchmarks, not of the tests' machine."""

import asyncio
import shutil
from functools import partial

import pytest

from benchmarks.load.wrk import Call, fill_carts, play
from tests.integration.benchmarks.fake_gateway import FakeGateway, serving

pytestmark = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (apt install wrk)")


async def test_prepared_calls_are_played_in_turn_and_refusals_counted() -> None:
    async with serving(FakeGateway({"A": 1}, {"A": 1})) as server:
        calls = [Call("GET", "/healthz"), Call("GET", "/v1/carts/none"), Call("POST", "/v1/carts", b"{}")]
        result = await asyncio.to_thread(partial(play, server.port, calls, seconds=1, connections=2))

    assert result.requests > 10
    assert abs(result.refused - result.requests / 3) <= 2
    assert result.socket_errors == 0


async def test_exactly_the_wanted_carts_are_created_and_each_is_filled() -> None:
    gateway = FakeGateway({"A": 1, "B": 1}, {"A": 1, "B": 1})
    batches = [b'[{"sku":"A","quantity":1}]', b'[{"sku":"A","quantity":2},{"sku":"B","quantity":3}]']
    async with serving(gateway) as server:
        await asyncio.to_thread(partial(fill_carts, server.port, 100, batches, connections=8))

    filled = [cart.lines for cart in gateway.carts.values()]
    assert len(filled) == 100
    assert all(lines in ({"A": 1}, {"A": 2, "B": 3}) for lines in filled)
    assert {"A": 1} in filled
