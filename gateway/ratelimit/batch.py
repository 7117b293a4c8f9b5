"""Limits, their allowances for each client, and the batches in which the store decides about them.

Requests of one client under the same limits in one loop tick form a *group* with a count, so that the store gets each
client once. It grants in the order of arrival.
"""

from __future__ import annotations

import asyncio
import struct
from hashlib import blake2b
from typing import TYPE_CHECKING
from zlib import crc32

from gateway.config.policies import Limit
from gateway.ratelimit.decision import Decision
from gateway.ratelimit.gcra import Bucket, Rate, rate_of
from gateway.ratelimit.rejection import Rejection
from primitives.bounded_map import BoundedMap

if TYPE_CHECKING:
    from gateway.ratelimit.parts import Part


class Counts:
    """The decisions of one limit. A limit in shadow mode rejects nothing: its rejections are only counted."""

    __slots__ = ("granted", "rejected", "rejected_from_cache")

    def __init__(self) -> None:
        self.granted = 0
        self.rejected = 0
        # Of the rejected, those decided without the store.
        self.rejected_from_cache = 0


class Rule:
    """A limit and the allowances of its clients."""

    __slots__ = (
        "_common",
        "_openings",
        "_secret",
        "allowances",
        "args",
        "batch",
        "counts",
        "index",
        "is_shadow",
        "limit",
        "local_rate",
        "state_opening",
    )

    def __init__(
        self, limit: Limit, counts: Counts, *, share: float, tag: str, partitions: int, secret: bytes, max_clients: int
    ) -> None:
        rate = rate_of(limit.quota, limit.window_s, limit.burst)
        self.limit = limit
        # Of its item in the field RateLimit, up to the units left.
        self.state_opening = b'"%b";r=' % limit.name.encode()
        self.is_shadow = limit.shadow
        self.counts = counts
        # The rate of this process alone, while the store is away.
        self.local_rate: Rate = rate_of(limit.quota, limit.window_s, limit.burst, share=share)
        self.args = (repr(rate.interval_us).encode(), b"%d" % rate.burst, b"1" if limit.shadow else b"0")
        # The number of the last batch with this rule, and its position there.
        self.batch = 0
        self.index = 0
        # Of the keys of each partition; a store that is no cluster has one.
        tags = [tag] if partitions == 1 else [f"{tag}:{number}" for number in range(partitions)]
        self._openings = [f"{{{each}}}:{limit.name}:".encode() for each in tags]
        self._secret = secret
        self.allowances: BoundedMap[str, Allowance] = BoundedMap(2 * max_clients)
        self._common: dict[str, Allowance] = {}

    def allowance_of(self, client: str) -> Allowance:
        """The allowance of a client, from the cache or new."""
        allowance = self.allowances.get(client)
        if allowance is None:
            # Addresses and shoppers are personal: the store has a digest, and that only until the quota is whole again.
            digest = blake2b(client.encode(errors="surrogatepass"), digest_size=8, key=self._secret)
            # By the client alone: the limits that count by one attribute have the client in one partition.
            allowance = self._allowance(digest.digest()[0], digest.hexdigest().encode())
            self.allowances.put(client, allowance)
        return allowance

    def common_to(self, route: str) -> Allowance:
        """The allowance that all requests of a route share; the empty route is all requests."""
        return self._common.setdefault(route, self._allowance(crc32(route.encode()), route.encode()))

    def _allowance(self, number: int, name: bytes) -> Allowance:
        partition = number % len(self._openings)
        return Allowance(self, self._openings[partition] + name, partition)


class Allowance:
    """The units that one limit still grants to one client."""

    __slots__ = ("_bucket", "batch", "empty_until", "index", "index_in_part", "key", "partition", "rejection", "rule")

    def __init__(self, rule: Rule, key: bytes, partition: int) -> None:
        self.rule = rule
        self.key = key
        self.partition = partition
        # The time until which it is known to be spent; 0 where it is not.
        self.empty_until = 0.0
        # The rejection that was rendered last for it.
        self.rejection: CachedRejection | None = None
        # The number of the last batch with this allowance, and its position there.
        self.batch = 0
        self.index = 0
        # Of a batch that is split: its position among the keys of its partition.
        self.index_in_part = 0
        self._bucket: Bucket | None = None

    @property
    def bucket(self) -> Bucket:
        """The units that this process may grant without the store."""
        if self._bucket is None:
            self._bucket = Bucket(self.rule.local_rate, shadow=self.rule.limit.shadow)
        return self._bucket


class Group:
    """Requests of one client under the same limits: each takes a unit of every allowance, or none.

    Once decided, the first `granted` requests may pass. `left` and `waits_us` are the state of all keys of the batch
    after it; `positions` are those of the group's allowances there. `batch` is None where it was decided at once.
    """

    __slots__ = (
        "allowances",
        "asks",
        "batch",
        "count",
        "fields",
        "granted",
        "index",
        "is_local",
        "left",
        "positions",
        "rejection",
        "waits_us",
    )

    def __init__(self, allowances: list[Allowance], batch: Batch | None = None) -> None:
        self.allowances = allowances
        self.batch = batch
        self.is_local = False
        # Rendered once for all requests of the group: their header fields, and the body of a rejection.
        self.fields: bytes | None = None
        self.rejection: Rejection | None = None
        self.granted = 0
        self.count = 0
        self.index = 0
        self.positions: list[int] = []
        # Of a batch that is split: the parts with its allowances, and the number of its ask in each.
        self.asks: list[tuple[Part, int]] = []
        self.left: list[int] = []
        self.waits_us: list[int] = []
        if batch is not None:
            batch.groups.append(self)
            self.index = len(batch.groups)

    def join(self, batch: Batch) -> int:
        """Add a request; returns the number of those before it."""
        position = self.count
        self.count = position + 1
        batch.order.append(self.index)
        return position

    def decide(self, granted: int, left: list[int], waits_us: list[int], *, is_local: bool = False) -> None:
        """Decide a group by itself, outside of a batch."""
        self.granted, self.left, self.waits_us, self.is_local = granted, left, waits_us, is_local
        self.positions = list(range(len(left)))


class Batch:
    """The groups of one loop tick."""

    __slots__ = ("decision", "groups", "is_decided", "keys", "missing", "number", "order", "parts", "sent_at", "size")

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        self.groups: list[Group] = []
        # The number of the group of each request, in the order of arrival.
        self.order: list[int] = []
        # An upper bound of the number of keys, and their allowances.
        self.size = 0
        self.keys: list[Allowance] = []
        # The calls of a batch that is split, and how many have no reply yet.
        self.parts: list[Part] = []
        self.missing = 0
        self.sent_at = 0.0
        self.is_decided = False
        self.decision = Decision(loop)

    def decide(self) -> None:
        """All groups are decided: their requests go on."""
        self.is_decided = True
        # Groups and batch refer to each other: left so, they would wait for the garbage collector.
        self.groups = []
        self.parts = []
        self.decision.set_done()


class CachedRejection:
    """A group rejected because one allowance is known to be spent. Valid for requests under `limits` until `until`."""

    __slots__ = ("group", "limits", "until")

    def __init__(self, limits: object, group: Group, until: float) -> None:
        self.limits = limits
        self.group = group
        self.until = until


def arguments(batch: Batch) -> list[bytes]:
    """The arguments of `take.lua`. Its keys become `batch.keys`, in their order."""
    number, keys = batch.number, batch.keys
    limits: list[int] = []
    args: list[bytes] = []
    shape: list[int] = []
    for group in batch.groups:
        positions: list[int] = []
        shape.append(len(group.allowances))
        for each in group.allowances:
            if each.batch != number:
                each.batch, each.index = number, len(keys)
                keys.append(each)
                rule = each.rule
                if rule.batch != number:
                    rule.batch, rule.index = number, len(args) // 3 + 1
                    args += rule.args
                limits.append(rule.index)
            positions.append(each.index)
            shape.append(each.index + 1)
        group.positions = positions
    numbers = [len(batch.groups), *limits, *shape, *batch.order]
    args.append(struct.pack(f"<{len(numbers)}H", *numbers))
    return args
