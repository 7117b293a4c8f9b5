"""The script that takes quotas in the store, held to the model; and the model to what it promises."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import deque

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ratelimit.batch_sender import TAKE
from gateway.ratelimit.gcra import Bucket, rate_of
from store import Client, Script, open_client
from tests.unit.gateway.ratelimit.quota_store import QuotaStore

_TIME = "redis.call('TIME')"
# The test moves the clock: it sends seconds and microseconds as the last two arguments.
CLOCKED = Script(TAKE.text.replace(_TIME, "{table.remove(ARGV), table.remove(ARGV)}"))

LIMITS = st.lists(
    # Windows so long that no key expires by the server's own clock meanwhile.
    st.tuples(st.integers(1, 30), st.sampled_from([3_600.0, 86_400.0]), st.integers(1, 40), st.booleans()),
    min_size=1,
    max_size=4,
)
# Keys by number, those of a limit being the ones of the same remainder; how many requests come, in which order.
ASKS = st.lists(st.sets(st.integers(0, 7), min_size=1, max_size=4).map(sorted), min_size=1, max_size=5)
# How much later it comes, the limits as they are then, what is asked, by which ask each request is.
BATCHES = st.lists(
    st.tuples(st.integers(0, 8_000_000_000), LIMITS, ASKS, st.lists(st.integers(0, 4), min_size=1, max_size=40)),
    max_size=8,
)
Batch = tuple[int, list[tuple[int, float, int, bool]], list[list[int]], list[int]]


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batches=BATCHES)
def test_script_and_model_agree(store_url: str, batches: list[Batch]) -> None:
    assert _TIME in TAKE.text
    asyncio.run(_compare(store_url, batches))


async def _compare(store_url: str, batches: list[Batch]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        client = await open_client(store_url, deadline_s=20.0)
        stack.push_async_callback(client.close)
        await client.execute("FLUSHDB")
        model = QuotaStore(lambda: 0.0)
        now_us = 1_763_723_561_123_456
        for elapsed_us, limits, asks, order in batches:
            now_us += elapsed_us
            await _compare_batch(client, model, now_us, limits, asks, order)


async def _compare_batch(
    client: Client,
    model: QuotaStore,
    now_us: int,
    limits: list[tuple[int, float, int, bool]],
    asks: list[list[int]],
    order: list[int],
) -> None:
    used = sorted({key for ask in asks for key in ask})
    numbers = [len(asks), *(key % len(limits) + 1 for key in used)]
    for ask in asks:
        numbers += [len(ask), *(used.index(key) + 1 for key in ask)]
    numbers += [ask % len(asks) + 1 for ask in order]
    keys = [f"{{rl}}:{key}" for key in used]
    call = [*_arguments(limits), struct.pack(f"<{len(numbers)}H", *numbers)]
    replied = await client.run(CLOCKED, keys, [*call, now_us % 1_000_000, now_us // 1_000_000])
    expected = model.take(keys, call, now_us)
    waits = slice(len(asks) + len(used), len(asks) + 2 * len(used))
    # Counted one by one or together, a level may differ in its last bit.
    assert all(abs(one - other) <= 1 for one, other in zip(replied[waits], expected[waits], strict=True))
    replied[waits] = expected[waits]
    assert replied == expected


def _arguments(limits: list[tuple[int, float, int, bool]]) -> list[bytes]:
    args = []
    for quota, window_s, burst, shadow in limits:
        rate = rate_of(quota, window_s, burst)
        args += [repr(rate.interval_us).encode(), b"%d" % rate.burst, b"1" if shadow else b"0"]
    return args


@given(
    quota=st.integers(1, 100),
    window_s=st.sampled_from([0.5, 1.0, 60.0]),
    burst=st.integers(1, 150),
    asked=st.lists(st.tuples(st.integers(0, 700_000), st.integers(1, 30)), max_size=80),
)
def test_no_window_has_more_than_quota_and_burst(
    quota: int, window_s: float, burst: int, asked: list[tuple[int, int]]
) -> None:
    bucket = Bucket(rate_of(quota, window_s, burst))
    now_us, in_window = 0, deque[tuple[int, int]]()
    for elapsed_us, n in asked:
        now_us += elapsed_us
        in_window.append((now_us, bucket.take(now_us, n).granted))
        while in_window[0][0] <= now_us - window_s * 1e6:
            in_window.popleft()
        assert sum(granted for _, granted in in_window) <= quota + burst
