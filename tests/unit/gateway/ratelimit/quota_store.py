"""A store with the one script `take.lua`, executed by its Python model; a test makes it fail or hang."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable, Sequence
from typing import Any

from gateway.ratelimit.batch_sender import GIVE_BACK
from gateway.ratelimit.gcra import SLACK, Bucket, Rate, admit
from store import Script, StoreUnavailable


class QuotaStore:
    """Replies at once while `mode` is `replies`, fails while it is `fails`, sends nothing while it is `hangs`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.mode = "replies"
        self.calls: list[tuple[Sequence[Any], Sequence[Any]]] = []
        # The calls that wait for `reply_late`.
        self.hanging: list[tuple[asyncio.Future[Any], Sequence[Any], Sequence[Any]]] = []
        self._clock = clock
        self._stored: dict[Any, tuple[float, float]] = {}

    def run(self, script: Script, keys: Sequence[Any], args: Sequence[Any] = ()) -> asyncio.Future[Any]:
        """As `Store.run`."""
        self.calls.append((keys, args))
        reply = asyncio.get_running_loop().create_future()
        if script is GIVE_BACK:
            self.give_back(keys, args, self._clock() * 1e6)
            reply.set_result(None)
        elif self.mode == "replies":
            reply.set_result(self.take(keys, args, self._clock() * 1e6))
        elif self.mode == "fails":
            reply.set_exception(StoreUnavailable("it was killed"))
        else:
            self.hanging.append((reply, keys, args))
        return reply

    def reply_late(self) -> None:
        """Reply to all hanging calls, in their order."""
        for reply, keys, args in self.hanging:
            reply.set_result(self.take(keys, args, self._clock() * 1e6))
        self.hanging.clear()

    def execute(self, *_command: Any) -> Any:
        """As `Store.execute`."""
        raise NotImplementedError

    def execute_blocking(self, *_command: Any, timeout_s: float) -> Any:
        """As `Store.execute_blocking`."""
        raise NotImplementedError

    def take(self, keys: Sequence[Any], args: Sequence[Any], now_us: float) -> list[int]:
        """The reply of the script."""
        *limits, shape = args
        numbers = (each for (each,) in struct.iter_unpack("<H", shape))
        groups = next(numbers)
        buckets = [self._bucket(key, limits, next(numbers)) for key in keys]
        before = [bucket.left(now_us) for bucket in buckets]
        keys_of = [[next(numbers) - 1 for _ in range(next(numbers))] for _ in range(groups)]
        granted, short = [0] * groups, [0] * len(keys)
        for group in numbers:
            short_buckets = admit([buckets[key] for key in keys_of[group - 1]], now_us)
            for key, bucket in enumerate(buckets):
                short[key] += bucket in short_buckets
            granted[group - 1] += all(bucket.shadow for bucket in short_buckets)
        left = [bucket.left(now_us) for bucket in buckets]
        for key, bucket, had, has in zip(keys, buckets, before, left, strict=True):
            if has < had:
                self._stored[key] = (bucket._level, bucket._at_us)
        return [*granted, *left, *(bucket.take(now_us, 0).wait_us for bucket in buckets), *short]

    def give_back(self, keys: Sequence[Any], args: Sequence[Any], now_us: float) -> None:
        """As of the script."""
        for key, interval, units in zip(keys, args[::2], args[1::2], strict=True):
            level, at_us = self._stored.get(key, (0.0, 0.0))
            self._stored[key] = (max(level - (now_us - at_us) / float(interval) - int(units), 0.0), now_us)

    def _bucket(self, key: Any, limits: Sequence[bytes], limit: int) -> Bucket:
        interval, burst, shadow = itertools.islice(limits, limit * 3 - 3, limit * 3)
        bucket = Bucket(Rate(float(interval), int(burst)), shadow=shadow == b"1")
        level, bucket._at_us = self._stored.get(key, (0.0, 0.0))
        # A limit that was lowered since is used up, no more.
        bucket._level = min(level, int(burst) + SLACK)
        return bucket
