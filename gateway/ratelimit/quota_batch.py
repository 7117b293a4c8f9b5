"""What is asked of the store in one loop tick, and what it is asked for.

Requests of one caller that are under the same limits are one *ask* with a count, so that the store is told of each caller
once; it grants in the order they came.
"""

from __future__ import annotations

import asyncio
import contextvars
import struct
from collections.abc import Callable, Generator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from gateway.config.policies import Limit
from gateway.ratelimit.gcra import Bucket, Rate, rate_of


class Counts:
    """What one limit has decided. A shadow refuses nobody: its refusals are only counted."""

    __slots__ = ("refused", "remembered", "taken")

    def __init__(self) -> None:
        self.taken = 0
        self.refused = 0
        # Of the refused, those that the store was not asked about.
        self.remembered = 0


class Rule:
    """A limit as it is counted, and the callers that it knows."""

    __slots__ = (
        *("_common", "_key", "_known_before", "_known_most", "_secret", "args", "batch", "counts", "index", "known"),
        *("limit", "local_rate"),
    )

    def __init__(self, limit: Limit, counts: Counts, *, share: float, tag: str, secret: bytes, known_most: int) -> None:
        rate = rate_of(limit.quota, limit.window_s, limit.burst)
        self.limit = limit
        self.counts = counts
        self.local_rate: Rate = rate_of(limit.quota, limit.window_s, limit.burst, share=share)
        self.args = (repr(rate.interval_us).encode(), b"%d" % rate.burst, b"1" if limit.shadow else b"0")
        # The number of the last batch it was part of, and its place in there.
        self.batch = 0
        self.index = 0
        self._key = f"{{{tag}}}:{limit.name}:".encode()
        self._secret = secret
        self._known_most = known_most
        self.known: dict[str, Allowance] = {}
        self._known_before: dict[str, Allowance] = {}
        self._common: dict[str, Allowance] = {}

    def allowance_of(self, caller: str) -> Allowance:
        """What this limit allows a caller that is not among the `known`; from now on it is."""
        # Two generations forget the callers longest unseen without keeping an order of use.
        if len(self.known) >= self._known_most:
            self._known_before, self.known = self.known, {}
        # Addresses and shoppers are personal: the store sees a digest, and that only until the quota is whole again.
        found = self._known_before.get(caller)
        if found is None:
            digest = blake2b(caller.encode(errors="surrogatepass"), digest_size=8, key=self._secret)
            found = Allowance(self, self._key + digest.hexdigest().encode())
        self.known[caller] = found
        return found

    def common_to(self, route: str) -> Allowance:
        """What this limit allows to all requests of a route; to all there are, whose route is empty."""
        return self._common.setdefault(route, Allowance(self, self._key + route.encode()))


class Allowance:
    """What one limit still allows one caller."""

    __slots__ = ("_bucket", "batch", "empty_until", "index", "key", "refusal", "rule")

    def __init__(self, rule: Rule, key: bytes) -> None:
        self.rule = rule
        self.key = key
        # It is known to be used up until then; 0 when it is not.
        self.empty_until = 0.0
        # How that was told last.
        self.refusal: Refusal | None = None
        # The number of the last batch it was part of, and its place in there.
        self.batch = 0
        self.index = 0
        self._bucket: Bucket | None = None

    @property
    def bucket(self) -> Bucket:
        """What this process may grant on its own."""
        if self._bucket is None:
            self._bucket = Bucket(self.rule.local_rate, shadow=self.rule.limit.shadow)
        return self._bucket


class Ask:
    """What requests of one caller under the same limits ask for together: a unit of each allowance for each of them.

    Once it is decided, the first `granted` of them may pass. `left` and `waits_us` say how the keys stand after the whole
    batch; `places` are those of the allowances in there. `batch` is None where it was decided at once.
    """

    __slots__ = (
        *("allowances", "batch", "count", "granted", "index", "is_local", "left", "lines", "order", "places"),
        *("refused", "waits_us"),
    )

    def __init__(self, allowances: Sequence[Allowance], batch: Batch | None = None) -> None:
        self.allowances = allowances
        self.batch = batch
        self.is_local = False
        # For whoever renders this: all its requests are told the same.
        self.lines: bytes | None = None
        self.refused: Any = None
        self.granted = 0
        self.places: Sequence[int]
        self.left: Sequence[int]
        self.waits_us: Sequence[int]
        if batch is not None:
            self.count = 0
            self.order = batch.order
            batch.asks.append(self)
            self.index = len(batch.asks)

    def join(self) -> int:
        """One more request; returns how many were there before it."""
        place = self.count
        self.count = place + 1
        self.order.append(self.index)
        return place

    def decide(self, granted: int, left: Sequence[int], waits_us: Sequence[int], *, is_local: bool = False) -> None:
        """Where nobody but this ask is told."""
        self.granted, self.left, self.waits_us, self.is_local = granted, left, waits_us, is_local
        self.places = range(len(left))


class Batch:
    """What is asked in one loop tick. Awaiting it waits until it is decided; it never fails.

    It is a future to whoever awaits it: to a task, and to what runs handlers without one. That many share it, and are
    woken at once, is half the cost of a future each. One that is cancelled must not end the wait of the others.
    """

    __slots__ = (
        *("_asyncio_future_blocking", "_loop", "_wake", "asked_at", "asks", "is_decided", "keys", "number", "order"),
        "size",
    )

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        self.asks: list[Ask] = []
        # The ask that each request is one of, by number.
        self.order: list[int] = []
        # At most so many keys, and what they are of.
        self.size = 0
        self.keys: list[Allowance] = []
        self.asked_at = 0.0
        self.is_decided = False
        self._loop = loop
        self._wake: list[Callable[[Any], object]] = []
        self._asyncio_future_blocking = False

    def decide(self) -> None:
        """All asks are decided: those who wait go on."""
        self.is_decided = True
        # Asks and batch know each other: left so, they would wait for the garbage collector.
        self.asks = []
        for wake in self._wake:
            try:
                wake(self)
            except Exception as error:  # noqa: BLE001 - the others go on
                self._loop.call_exception_handler({"message": "a request could not go on", "exception": error})
        self._wake = []

    def __await__(self) -> Generator[Batch, None, None]:
        if not self.is_decided:
            self._asyncio_future_blocking = True
            yield self

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: contextvars.Context | None = None
    ) -> None:
        """As of a future. A task goes on by itself in its own context; other callers at once, which spares a handle each."""
        if context is None:
            self._wake.append(callback)
        else:
            self._wake.append(lambda _: self._loop.call_soon(callback, self, context=context))

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """As of a future."""
        return self._loop

    def done(self) -> bool:
        """As of a future."""
        return self.is_decided

    def result(self) -> None:
        """As of a future."""

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - as of a future
        """It goes on for the others; the task that asked is cancelled when it wakes."""
        return False


class Refusal(NamedTuple):
    """An ask refused because one limit is known to be used up; it serves requests under `limits` until `until`."""

    limits: object
    ask: Ask
    until: float


def arguments(batch: Batch) -> list[bytes]:
    """What `take.lua` is given besides its keys, which become those of the batch in their order."""
    number, keys = batch.number, batch.keys
    limits: list[int] = []
    args: list[bytes] = []
    shape: list[int] = []
    for ask in batch.asks:
        places: list[int] = []
        shape.append(len(ask.allowances))
        for each in ask.allowances:
            if each.batch != number:
                each.batch, each.index = number, len(keys)
                keys.append(each)
                rule = each.rule
                if rule.batch != number:
                    rule.batch, rule.index = number, len(args) // 3 + 1
                    args += rule.args
                limits.append(rule.index)
            places.append(each.index)
            shape.append(each.index + 1)
        ask.places = places
    numbers = [len(batch.asks), *limits, *shape, *batch.order]
    args.append(struct.pack(f"<{len(numbers)}H", *numbers))
    return args
