"""CPU time that the rate limiter adds to a request: `python -m benchmarks.micro.limit_cost`.

In one process, without a socket: the store's client packs its commands and reads its replies, which are ready. The cost
of the same handler without limits is subtracted. The CPU time of the store is not included.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final, cast

import uvloop

from benchmarks.replay.tables import table
from gateway.config.policies import Limit
from gateway.http.message import Handler, Request, Response, ResponseOrAwaitable
from gateway.process.worker import GC_THRESHOLDS
from gateway.ratelimit.rate_limit import rate_limit
from gateway.ratelimit.redis_quota import PARTITIONS, RedisQuota
from store import Client

PER_TICK: Final = 64
TICKS: Final = 1_000
REPEATS: Final = 5
ADDRESS: Final = Limit(name="address", by="address", quota=1_000)
THREE: Final = (ADDRESS, Limit(name="shopper", by="shopper", quota=100), Limit(name="all", by="global", quota=100_000))
_ANSWER: Final = Response(200)


class _Socket(asyncio.Transport):
    """A transport that drops all data."""

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Drop it."""

    def abort(self) -> None:
        """Nothing is open."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Nothing is received."""


async def measure(limits: Sequence[Limit], callers: int, partitions: int) -> float:
    """CPU microseconds per request, of so many clients, `PER_TICK` in each tick of the loop."""
    client = Client("redis://nowhere")
    client._transport = _Socket()  # noqa: SLF001 - a client that needs no server
    quota = RedisQuota(client, share=1.0, partitions=partitions)
    handler = rate_limit(limits, quota, route="GET /x", mark=_fail)(_handle)
    requests = [Request("GET", "/x", "", {}, b"", f"id-{n}", ()) for n in range(PER_TICK)]
    for n, request in enumerate(requests):
        request.client, request.shopper = f"192.0.2.{n % callers}", f"shopper-{n % callers}"
    reply = _reply(limits, callers) if partitions == 1 else b""
    began = time.process_time()
    for _ in range(TICKS):
        for request in requests:
            request.extra_headers = b""
            _run(handler, request)
        # The batch is sent, the reply is read, and its requests go on.
        for _ in range(2):
            await asyncio.sleep(0)
        if limits:
            reply = reply or _replies(quota)
            client.data_received(reply)
        await asyncio.sleep(0)
    spent_us = (time.process_time() - began) * 1e6 / (TICKS * PER_TICK)
    await quota.close()
    await client.close()
    return spent_us


def _reply(limits: Sequence[Limit], callers: int) -> bytes:
    keys = sum(1 if limit.by == "global" else callers for limit in limits)
    numbers = [PER_TICK // callers] * callers + [50] * keys + [20_000] * keys + [0] * keys
    return _encoded(numbers)


def _replies(quota: RedisQuota) -> bytes:
    """The replies to the batch that is in flight, a call for each partition; they are the same in every tick."""
    parts = quota._sender._in_flight[0].parts  # noqa: SLF001 - the calls of a batch depend on the digests of its clients
    return b"".join(
        _encoded([PER_TICK] * len(part.asks) + [50] * len(part.keys) + [20_000] * len(part.keys) + [0] * len(part.keys))
        for part in parts
    )


def _encoded(numbers: Sequence[int]) -> bytes:
    return b"*%d\r\n" % len(numbers) + b"".join(b":%d\r\n" % number for number in numbers)


def _run(handler: Handler, request: Request) -> None:
    """Run a request as the server does."""
    outcome: ResponseOrAwaitable = handler(request)
    if not isinstance(outcome, Response):
        _Running(outcome).step()


class _Running:
    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, Response]) -> None:
        self._coroutine = coroutine

    def step(self, _done: object = None) -> None:
        """Go on until it waits or ends."""
        try:
            waits_for = self._coroutine.send(None)
        except StopIteration:
            return
        cast("asyncio.Future[Any]", waits_for).add_done_callback(self.step)


async def _handle(_request: Request) -> Response:
    return _ANSWER


def _fail(_request: Request, _what: str) -> None:
    raise AssertionError("there was no reply from the store in time")


async def _least(limits: Sequence[Limit], callers: int, partitions: int = 1) -> float:
    """The minimum of several runs: other programs may use the core."""
    return min([await measure(limits, callers, partitions) for _ in range(REPEATS)])


async def _report() -> str:
    bare = await _least((), 1)
    rows = []
    for limits in ((ADDRESS,), THREE):
        for callers in (1, PER_TICK):
            alone, split = [await _least(limits, callers, partitions) - bare for partitions in (1, PARTITIONS)]
            rows.append((len(limits), callers, f"{alone:.2f}", f"{split:.2f}"))
    return table(("limits", f"clients of {PER_TICK} requests a tick", "µs added to each", "on a cluster"), rows)


if __name__ == "__main__":
    # As a worker does.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    print(uvloop.run(_report()))
