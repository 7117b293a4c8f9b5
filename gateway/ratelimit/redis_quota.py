"""Exact quotas in Redis, decided in batches; the share of this process while Redis is away.

The requests of one loop tick are decided by one script call. A client that is over a limit is rejected from a cache until
there may be a unit again, without a call. A batch without a reply in time (25 ms; a late reply is dropped, though its
units are taken) is decided by local buckets with the share of this process, and so are all that follow, until a probe in
the background gets its reply.

Times of this process are seconds of `clock`; the store counts with a clock of its own.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Final

from gateway.config.policies import Limit
from gateway.http.message import Request
from gateway.metrics import Metric
from gateway.ratelimit.batch import Allowance, Batch, CachedRejection, Counts, Group, Rule, arguments
from gateway.ratelimit.gcra import admit
from gateway.ratelimit.quota_stats import quota_metrics, snapshot_of
from store import Script, Store

_log = logging.getLogger("peakgate")

# How long the store may take, and how often waiting batches are checked: together less than 50 ms.
TIMEOUT_S: Final = 0.025
WATCH_S: Final = 0.007
MIN_PROBE_S: Final = 0.1
MAX_PROBE_S: Final = 1.0
# Clients cached by each limit, in each of two generations.
MAX_CLIENTS: Final = 10_000
# Keys of one script call: more would delay the store's other clients.
MAX_KEYS: Final = 1_000

TAKE: Final = Script.from_package("gateway.ratelimit", "scripts/take.lua")
# The attribute of a request that a limit counts by; none where it counts all requests, or all of a route.
_ATTRIBUTE: Final = {"address": "client", "api_key": "api_key", "shopper": "shopper"}


class LimitSet:
    """The limits of a route. `open` has the groups of this tick, by the key that `client_of` gives."""

    def __init__(self, quota: RedisQuota, rules: Sequence[Rule], route: str) -> None:
        self.open: dict[Hashable, Group] = {}
        attributes = [_ATTRIBUTE.get(rule.limit.by) for rule in rules]
        named = dict.fromkeys(attribute for attribute in attributes if attribute is not None)
        self.client_of: Callable[[Request], Hashable] = attrgetter(*named) if named else _any_client
        self._quota = quota
        self._parts = [
            (rule, attribute, rule.common_to(route if rule.limit.by == "route" else ""))
            for rule, attribute in zip(rules, attributes, strict=True)
        ]

    def group_for(self, request: Request, client: Hashable) -> Group | None:
        """A new group for the client of a request; decided already where the store is not needed or away.

        None where no limit applies, because the request has none of the attributes that its limits count by.
        """
        allowances: list[Allowance] = []
        may_be_spent = False
        for rule, attribute, common in self._parts:
            if attribute is None:
                allowance = common
            elif text := getattr(request, attribute):
                allowance = rule.allowance_of(text)
            else:
                continue
            allowances.append(allowance)
            may_be_spent = may_be_spent or allowance.empty_until > 0.0
        if not allowances:
            return None
        if may_be_spent and (rejected := self._quota.cached_rejection(self, allowances)):
            return rejected
        batch = self._quota.batch_of(self)
        if batch is None:
            return self._quota.decide_locally(allowances)
        batch.size += len(allowances)
        group = self.open[client] = Group(allowances, batch)
        return group


class RedisQuota:
    """The quotas of all limits. One per process; `update` keeps the state of limits that do not change.

    `share` is the part of each quota that this process may grant while the store is away: one in so many processes.
    `timeout_s` is how long the store may take to reply; up to 14 ms more pass before a batch is decided without it.
    `secret` keys the digests of clients in the store; all gateways of one store need the same.
    All keys carry one hash `tag`, because one script takes from all limits of a request, and some limits are common to
    all requests. On a cluster one node has them.
    """

    def __init__(
        self,
        store: Store,
        *,
        share: float,
        secret: bytes = b"",
        tag: str = "rl",
        timeout_s: float = TIMEOUT_S,
        max_clients: int = MAX_CLIENTS,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._share = share
        # Derived, so that the same secret can have other uses.
        self._secret = blake2b(secret, digest_size=32, person=b"peakgate-limits").digest() if secret else b""
        self._tag = tag
        self._patience_s = timeout_s
        self._known_most = max_clients
        self._clock = clock
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._rules: dict[str, Rule] = {}
        self._counts: dict[str, Counts] = {}
        # No limit of the file has an spent name.
        self._probe = self._rule(Limit(name="", by="global", quota=1_000_000), Counts()).common_to("")
        self._batches = 0
        self._sent = 0
        self._requests = 0
        # The batch of this tick, and the limit sets with open groups in it.
        self._open: Batch | None = None
        self._open_sets: list[LimitSet] = []
        self._in_flight: list[Batch] = []
        self._watch: asyncio.TimerHandle | None = None
        self._watched_at = 0.0
        self._probing: asyncio.TimerHandle | None = None
        self._local_since: float | None = None
        self._local_why = ""
        self._is_closed = False

    # Limits

    def limits_of(self, limits: Iterable[Limit], route: str) -> LimitSet:
        """The limits of a route, in this order; `route` names it for limits that count by route."""
        return LimitSet(self, [self._rule_of(limit) for limit in limits], route)

    def update(self, limits: Iterable[Limit]) -> None:
        """Drop limits that are not among these, and the clients of limits that have changed."""
        current = {limit.name: limit for limit in limits}
        self._rules = {name: rule for name, rule in self._rules.items() if current.get(name) == rule.limit}
        self._counts = {name: counts for name, counts in self._counts.items() if name in current}

    def _rule_of(self, limit: Limit) -> Rule:
        rule = self._rules.get(limit.name)
        if rule is None or rule.limit != limit:
            counts = self._counts.setdefault(limit.name, Counts())
            rule = self._rules[limit.name] = self._rule(limit, counts)
        return rule

    def _rule(self, limit: Limit, counts: Counts) -> Rule:
        return Rule(limit, counts, share=self._share, tag=self._tag, secret=self._secret, max_clients=self._known_most)

    # Batches

    def batch_of(self, limits: LimitSet) -> Batch | None:
        """The batch of this tick, for a limit set that has no group in it yet; None while the store is away."""
        if self._local_since is not None:
            return None
        batch = self._open
        if batch is not None and batch.size >= MAX_KEYS:
            self._flush()
            batch = None
        if batch is None:
            batch = self._open = self._batch()
            self._loop.call_soon(self._flush)
        if not limits.open:
            self._open_sets.append(limits)
        return batch

    def cached_rejection(self, limits: LimitSet, allowances: list[Allowance]) -> Group | None:
        """The decided group of a client that is known to be over a limit; None when there may be units again."""
        now = self._clock()
        spent = [each for each in allowances if each.empty_until > now]
        for each in spent:
            each.rule.counts.rejected += 1
            each.rule.counts.rejected_from_cache += 1
        if len(spent) == 1:
            cached = spent[0].rejection
            if cached is None or cached.until <= now or cached.limits is not limits:
                cached = spent[0].rejection = _cached_rejection(limits, spent[0], now)
            return cached.group
        if spent:
            return _rejected_group(spent, now)
        for each in allowances:
            each.empty_until, each.rejection = 0.0, None
        return None

    def _batch(self) -> Batch:
        self._batches += 1
        return Batch(self._batches, self._loop)

    def _flush(self) -> None:
        """Send the batch of this tick."""
        batch, self._open = self._open, None
        if batch is None:
            return
        for limits in self._open_sets:
            limits.open = {}
        self._open_sets.clear()
        if self._local_since is None:
            self._sent += 1
            self._requests += len(batch.order)
            self._send(batch)
        else:
            self._decide_batch_locally(batch)

    def _send(self, batch: Batch) -> None:
        args = arguments(batch)
        batch.sent_at = self._clock()
        self._in_flight.append(batch)
        reply = asyncio.ensure_future(self._store.run(TAKE, [each.key for each in batch.keys], args))
        reply.add_done_callback(partial(self._on_reply, batch))
        if self._watch is None:
            self._watched_at = batch.sent_at
            self._watch = self._loop.call_later(WATCH_S, self._check_late)

    def _check_late(self) -> None:
        """Decide the batches without a reply in time. One timer serves all batches.

        A batch is late if it was late at the check before: after a pause of this process, the replies that arrived
        meanwhile are read first.
        """
        self._watch = None
        late_by, self._watched_at = self._watched_at - self._patience_s, self._clock()
        while self._in_flight and self._in_flight[0].sent_at <= late_by:
            self._fail(self._in_flight.pop(0), "no reply in time")
        if self._in_flight:
            self._watch = self._loop.call_later(WATCH_S, self._check_late)

    # Replies

    def _on_reply(self, batch: Batch, reply: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if reply.cancelled() else reply.exception()
        if batch.is_decided:
            return  # too late
        self._in_flight.remove(batch)
        if error is not None:
            self._fail(batch, str(error) or type(error).__name__)
            return
        is_probe = batch.groups[0].allowances[0] is self._probe
        self._apply_reply(batch, reply.result())
        if is_probe:
            self._end_local()

    def _apply_reply(self, batch: Batch, reply: list[int]) -> None:
        """Give each group the decision of the store."""
        groups, keys = len(batch.groups), len(batch.keys)
        left, waits_us = reply[groups : groups + keys], reply[groups + keys : groups + 2 * keys]
        for group, granted in zip(batch.groups, reply, strict=False):
            group.granted, group.left, group.waits_us = granted, left, waits_us
            for each in group.allowances:
                each.rule.counts.granted += granted
        if 0 in left:
            self._note_spent(batch, left, waits_us, reply[groups + 2 * keys :])
        batch.decide()

    def _note_spent(self, batch: Batch, left: Sequence[int], waits_us: Sequence[int], short: Sequence[int]) -> None:
        now = self._clock()
        for key, key_left, wait_us, key_short in zip(batch.keys, left, waits_us, short, strict=True):
            rule = key.rule
            rule.counts.rejected += key_short
            if rule.limit.shadow:
                rule.counts.granted -= key_short
            elif not key_left:
                key.empty_until = now + wait_us * 1e-6

    # Without the store

    def _fail(self, batch: Batch, why: str) -> None:
        """The store has failed: this process decides, until a probe gets its reply."""
        if self._local_since is None:
            self._local_since, self._local_why = self._clock(), why
            _log.warning("rate limits use the share of this process, because the store fails: %s", why)
        if not self._is_closed and self._probing is None:
            wait_s = MIN_PROBE_S + (MAX_PROBE_S - MIN_PROBE_S) * self._rng()
            self._probing = self._loop.call_later(wait_s, self._send_probe)
        self._decide_batch_locally(batch)

    def _send_probe(self) -> None:
        """Take a unit of an internal limit: like any other, it needs a store that accepts writes."""
        self._probing = None
        batch = self._batch()
        Group([self._probe], batch).join(batch)
        self._send(batch)

    def _end_local(self) -> None:
        if self._local_since is not None:
            _log.warning("rate limits are exact again after %.1f s", self._clock() - self._local_since)
            self._local_since = None

    def decide_locally(self, allowances: list[Allowance]) -> Group:
        """The decision of this process alone about one request."""
        group = Group(allowances)
        now_us = self._clock() * 1e6
        self._decide_group(group, _admitted(group, now_us), now_us)
        return group

    def _decide_batch_locally(self, batch: Batch) -> None:
        """Decide a batch alone, in the order of arrival."""
        now_us = self._clock() * 1e6
        granted = [0] * len(batch.groups)
        for number in batch.order:
            granted[number - 1] += _admitted(batch.groups[number - 1], now_us)
        for group, count in zip(batch.groups, granted, strict=True):
            self._decide_group(group, count, now_us)
        batch.decide()

    @staticmethod
    def _decide_group(group: Group, granted: int, now_us: float) -> None:
        stand = [each.bucket.take(now_us, 0) for each in group.allowances]
        group.decide(granted, [each.left for each in stand], [each.wait_us for each in stand], is_local=True)

    async def close(self) -> None:
        """Decide the waiting batches, and call the store no more."""
        self._is_closed = True
        for timer in (self._watch, self._probing):
            if timer is not None:
                timer.cancel()
        while self._in_flight:
            self._fail(self._in_flight.pop(0), "closed")
        if self._local_since is None:
            self._local_since, self._local_why = self._clock(), "closed"
        self._flush()

    # Statistics

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        local_s = None if self._local_since is None else round(self._clock() - self._local_since, 3)
        return {
            "limits": {name: snapshot_of(counts) for name, counts in self._counts.items()},
            "shadows": sorted(rule.limit.name for rule in self._rules.values() if rule.limit.shadow),
            "local_for_s": local_s,
            "local_because": None if local_s is None else self._local_why,
            "batches": self._sent,
            "requests_per_batch": round(self._requests / self._sent, 2) if self._sent else None,
        }

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        shadows = {rule.limit.name for rule in self._rules.values() if rule.limit.shadow}
        return quota_metrics(
            self._counts,
            shadows,
            batches=self._sent,
            requests=self._requests,
            is_local=self._local_since is not None,
        )


def _any_client(_request: Request) -> Hashable:
    return ""


def _cached_rejection(limits: LimitSet, spent: Allowance, now: float) -> CachedRejection:
    """The rejection for one spent allowance: the same while its wait has the same whole seconds."""
    return CachedRejection(
        limits, _rejected_group([spent], now), spent.empty_until - math.ceil(spent.empty_until - now) + 1
    )


def _rejected_group(spent: list[Allowance], now: float) -> Group:
    group = Group(spent)
    group.decide(0, [0] * len(spent), [math.ceil((each.empty_until - now) * 1e6) for each in spent])
    return group


def _admitted(group: Group, now_us: float) -> bool:
    """Whether this process alone lets one more request of a group pass."""
    buckets = [each.bucket for each in group.allowances]
    short = admit(buckets, now_us)
    passes = all(bucket.shadow for bucket in short)
    for each, bucket in zip(group.allowances, buckets, strict=True):
        if bucket in short:
            each.rule.counts.rejected += 1
        elif passes:
            each.rule.counts.granted += 1
    return passes
