"""Exact quotas in Redis, asked for in batches; this process's share of them while Redis is away.

What the requests of one loop tick ask for leaves in one script call.

A caller that is over a limit is remembered until there can be a unit again, and costs no call until then. Whatever has not
been answered in time (25 ms; a late reply is dropped, though its units are taken) is decided by local buckets with this
process's share of each quota, and so is all that follows, until a probe in the background has been answered.

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
from typing import Any, Final, Literal

from gateway.config.policies import Limit
from gateway.http.message import Request
from gateway.metrics import Metric, Sample
from gateway.ratelimit.gcra import admit
from gateway.ratelimit.quota_batch import Allowance, Ask, Batch, Counts, Refusal, Rule, arguments
from store import Script, Store

_log = logging.getLogger("peakgate")

# How long the store may take, and how often what waits is looked at: together less than 50 ms.
PATIENCE_S: Final = 0.025
WATCH_S: Final = 0.007
PROBE_LEAST_S: Final = 0.1
PROBE_MOST_S: Final = 1.0
# Callers remembered by each limit, twice: those seen lately, and those before them.
KNOWN_MOST: Final = 10_000
# Keys of one script call: more would hold up the store's other callers.
KEYS_MOST: Final = 1_000

TAKE: Final = Script.from_package("gateway.ratelimit", "scripts/take.lua")
# Which attribute of a request a limit counts by; none where it counts all requests of a route, or all there are.
_ATTRIBUTE: Final = {"address": "client", "api_key": "api_key", "shopper": "shopper"}


class LimitSet:
    """The limits that the requests of a route are under. `open` has the asks of this tick by what `caller` says."""

    def __init__(self, quota: RedisQuota, rules: Sequence[Rule], route: str) -> None:
        self.open: dict[Hashable, Ask] = {}
        attributes = [_ATTRIBUTE.get(rule.limit.by) for rule in rules]
        named = dict.fromkeys(attribute for attribute in attributes if attribute is not None)
        self.caller: Callable[[Request], Hashable] = attrgetter(*named) if named else _anybody
        self._quota = quota
        self._parts = [
            (rule, attribute, rule.common_to(route if rule.limit.by == "route" else ""))
            for rule, attribute in zip(rules, attributes, strict=True)
        ]

    def ask(self, request: Request, caller: Hashable) -> Ask | None:
        """A new ask for the caller of a request: decided already where the store need not or cannot be asked.

        None where no limit applies: the request has nothing that its limits count by.
        """
        allowances: list[Allowance] = []
        may_be_empty = False
        for rule, attribute, common in self._parts:
            if attribute is None:
                allowance = common
            elif text := getattr(request, attribute):
                allowance = rule.known.get(text) or rule.allowance_of(text)
            else:
                continue
            allowances.append(allowance)
            may_be_empty = may_be_empty or allowance.empty_until > 0.0
        if not allowances:
            return None
        if may_be_empty and (remembered := self._quota.remembered(self, allowances)):
            return remembered
        batch = self._quota.batch_of(self)
        if batch is None:
            return self._quota.decided_here(allowances)
        batch.size += len(allowances)
        ask = self.open[caller] = Ask(allowances, batch)
        return ask


class RedisQuota:
    """The quotas of all limits. One for a process; `update` keeps the counts and callers of limits that stay as they are.

    `share` is the part of each quota that this process may grant while the store is away: one in so many processes.
    `patience_s` is how long the store may take to answer; it is waited for up to 14 ms longer.
    `secret` keys the digests of callers in the store; all gateways of one store need the same.
    All keys carry one hash `tag`: a request may be under a limit that all others are under as well, and one script takes
    from all its limits. On a cluster one node has them.
    """

    def __init__(
        self,
        store: Store,
        *,
        share: float,
        secret: bytes = b"",
        tag: str = "rl",
        patience_s: float = PATIENCE_S,
        known_most: int = KNOWN_MOST,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._share = share
        # However long it is, and whatever else it is used for.
        self._secret = blake2b(secret, digest_size=32, person=b"peakgate-limits").digest() if secret else b""
        self._tag = tag
        self._patience_s = patience_s
        self._known_most = known_most
        self._clock = clock
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._rules: dict[str, Rule] = {}
        self._counts: dict[str, Counts] = {}
        # No limit of the file has an empty name.
        self._probe = self._rule(Limit(name="", by="global", quota=1_000_000), Counts()).common_to("")
        self._batches = 0
        self._sent = 0
        self._requests = 0
        # What this tick asks, and whose open asks end with it.
        self._open: Batch | None = None
        self._asking: list[LimitSet] = []
        self._in_flight: list[Batch] = []
        self._watch: asyncio.TimerHandle | None = None
        self._watched_at = 0.0
        self._probing: asyncio.TimerHandle | None = None
        self._local_since: float | None = None
        self._local_why = ""
        self._is_closed = False

    # Limits

    def limits_of(self, limits: Iterable[Limit], route: str) -> LimitSet:
        """The limits of a route, in this order; `route` names it, for those that count by route."""
        return LimitSet(self, [self._rule_of(limit) for limit in limits], route)

    def update(self, limits: Iterable[Limit]) -> None:
        """Forget limits that are not among these, and what is known of callers of those that have changed."""
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
        return Rule(limit, counts, share=self._share, tag=self._tag, secret=self._secret, known_most=self._known_most)

    # Asking

    def batch_of(self, limits: LimitSet) -> Batch | None:
        """The batch of this tick, for limits that have nothing in it yet; None while the store is not asked."""
        if self._local_since is not None:
            return None
        batch = self._open
        if batch is not None and batch.size >= KEYS_MOST:
            self._flush()
            batch = None
        if batch is None:
            batch = self._open = self._batch()
            self._loop.call_soon(self._flush)
        if not limits.open:
            self._asking.append(limits)
        return batch

    def remembered(self, limits: LimitSet, allowances: Sequence[Allowance]) -> Ask | None:
        """The refusal of a caller that is known to be over a limit; None when there may be units again."""
        now = self._clock()
        empty = [each for each in allowances if each.empty_until > now]
        for each in empty:
            each.rule.counts.refused += 1
            each.rule.counts.remembered += 1
        if len(empty) == 1:
            told = empty[0].refusal
            if told is None or told.until <= now or told.limits is not limits:
                told = empty[0].refusal = _refusal(limits, empty[0], now)
            return told.ask
        if empty:
            return _refused(empty, now)
        for each in allowances:
            each.empty_until, each.refusal = 0.0, None
        return None

    def _batch(self) -> Batch:
        self._batches += 1
        return Batch(self._batches, self._loop)

    def _flush(self) -> None:
        """Send what the tick asks."""
        batch, self._open = self._open, None
        if batch is None:
            return
        for limits in self._asking:
            limits.open = {}
        self._asking.clear()
        if self._local_since is None:
            self._sent += 1
            self._requests += len(batch.order)
            self._send(batch)
        else:
            self._decide_here(batch)

    def _send(self, batch: Batch) -> None:
        args = arguments(batch)
        batch.asked_at = self._clock()
        self._in_flight.append(batch)
        reply = asyncio.ensure_future(self._store.run(TAKE, [each.key for each in batch.keys], args))
        reply.add_done_callback(partial(self._on_reply, batch))
        if self._watch is None:
            self._watched_at = batch.asked_at
            self._watch = self._loop.call_later(WATCH_S, self._look)

    def _look(self) -> None:
        """Decide here what the store has not answered in time. One timer serves all batches.

        What counts is whether it was late at the look before: when this process was busy or stopped for a while, the
        replies that came meanwhile are read first.
        """
        self._watch = None
        late_by, self._watched_at = self._watched_at - self._patience_s, self._clock()
        while self._in_flight and self._in_flight[0].asked_at <= late_by:
            self._fail(self._in_flight.pop(0), "it does not answer in time")
        if self._in_flight:
            self._watch = self._loop.call_later(WATCH_S, self._look)

    # Replies

    def _on_reply(self, batch: Batch, reply: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if reply.cancelled() else reply.exception()
        if batch.is_decided:
            return  # it is too late
        self._in_flight.remove(batch)
        if error is not None:
            self._fail(batch, str(error) or type(error).__name__)
            return
        is_probe = batch.asks[0].allowances[0] is self._probe
        self._settle(batch, reply.result())
        if is_probe:
            self._go_back()

    def _settle(self, batch: Batch, reply: Sequence[int]) -> None:
        """Tell each ask what the store has decided."""
        asks, keys = len(batch.asks), len(batch.keys)
        left, waits_us = reply[asks : asks + keys], reply[asks + keys : asks + 2 * keys]
        for ask, granted in zip(batch.asks, reply, strict=False):
            ask.granted, ask.left, ask.waits_us = granted, left, waits_us
            for each in ask.allowances:
                each.rule.counts.taken += granted
        if 0 in left:
            self._note_short(batch, left, waits_us, reply[asks + 2 * keys :])
        batch.decide()

    def _note_short(self, batch: Batch, left: Sequence[int], waits_us: Sequence[int], short: Sequence[int]) -> None:
        now = self._clock()
        for key, key_left, wait_us, key_short in zip(batch.keys, left, waits_us, short, strict=True):
            rule = key.rule
            rule.counts.refused += key_short
            if rule.limit.shadow:
                rule.counts.taken -= key_short
            elif not key_left:
                key.empty_until = now + wait_us * 1e-6

    # Without the store

    def _fail(self, batch: Batch, why: str) -> None:
        """The store has not decided: this process does, and goes on to until a probe is answered."""
        if self._local_since is None:
            self._local_since, self._local_why = self._clock(), why
            _log.warning("rate limits go by the share of this process: the store fails (%s)", why)
        if not self._is_closed and self._probing is None:
            wait_s = PROBE_LEAST_S + (PROBE_MOST_S - PROBE_LEAST_S) * self._rng()
            self._probing = self._loop.call_later(wait_s, self._send_probe)
        self._decide_here(batch)

    def _send_probe(self) -> None:
        """Take a unit of a limit of our own: like any other, it needs a store that writes."""
        self._probing = None
        batch = self._batch()
        Ask((self._probe,), batch).join()
        self._send(batch)

    def _go_back(self) -> None:
        if self._local_since is not None:
            _log.warning("rate limits are exact again after %.1f s", self._clock() - self._local_since)
            self._local_since = None

    def decided_here(self, allowances: Sequence[Allowance]) -> Ask:
        """The decision of this process alone about one request."""
        ask = Ask(allowances)
        now_us = self._clock() * 1e6
        self._tell(ask, _admitted(ask, now_us), now_us)
        return ask

    def _decide_here(self, batch: Batch) -> None:
        """The decision of this process alone about a batch, in the order the requests came."""
        now_us = self._clock() * 1e6
        granted = [0] * len(batch.asks)
        for number in batch.order:
            granted[number - 1] += _admitted(batch.asks[number - 1], now_us)
        for ask, count in zip(batch.asks, granted, strict=True):
            self._tell(ask, count, now_us)
        batch.decide()

    @staticmethod
    def _tell(ask: Ask, granted: int, now_us: float) -> None:
        stand = [each.bucket.take(now_us, 0) for each in ask.allowances]
        ask.decide(granted, [each.left for each in stand], [each.wait_us for each in stand], is_local=True)

    async def close(self) -> None:
        """Decide what still waits, and ask no more."""
        self._is_closed = True
        for timer in (self._watch, self._probing):
            if timer is not None:
                timer.cancel()
        while self._in_flight:
            self._fail(self._in_flight.pop(0), "it is closed")
        if self._local_since is None:
            self._local_since, self._local_why = self._clock(), "it is closed"
        self._flush()

    # What can be seen

    def snapshot(self) -> Mapping[str, Any]:
        """What each limit has decided, and whether the store takes part."""
        local_s = None if self._local_since is None else round(self._clock() - self._local_since, 3)
        return {
            "limits": {
                name: {"taken": counts.taken, "refused": counts.refused, "remembered": counts.remembered}
                for name, counts in self._counts.items()
            },
            "shadows": sorted(rule.limit.name for rule in self._rules.values() if rule.limit.shadow),
            "local_for_s": local_s,
            "local_because": None if local_s is None else self._local_why,
            "batches": self._sent,
            "requests_per_batch": round(self._requests / self._sent, 2) if self._sent else None,
        }

    def metrics(self) -> Iterable[Metric]:
        """The same for machines."""
        shadows = {rule.limit.name for rule in self._rules.values() if rule.limit.shadow}
        samples = []
        for name, counts in self._counts.items():
            refusal = "shadow-refused" if name in shadows else "refused"
            samples += [Sample({"limit": name, "outcome": "taken"}, counts.taken)]
            samples += [Sample({"limit": name, "outcome": refusal}, counts.refused)]
        yield Metric("peakgate_limit_decisions_total", "Decisions of each rate limit.", "counter", samples)
        remembered = [Sample({"limit": name}, counts.remembered) for name, counts in self._counts.items()]
        yield Metric(
            "peakgate_limit_remembered_refusals_total",
            "Refusals by each rate limit that the store was not asked about.",
            "counter",
            remembered,
        )
        yield _one("peakgate_limit_batches_total", "Calls of the store for rate limits.", "counter", self._sent)
        yield _one("peakgate_limit_requests_total", "Requests that these asked about.", "counter", self._requests)
        is_local = self._local_since is not None
        yield _one("peakgate_limit_local", "Whether rate limits go by the share of this process.", "gauge", is_local)


def _one(name: str, explained: str, kind: Literal["counter", "gauge"], value: float) -> Metric:
    return Metric(name, explained, kind, [Sample({}, float(value))])


def _anybody(_request: Request) -> Hashable:
    return ""


def _refusal(limits: LimitSet, empty: Allowance, now: float) -> Refusal:
    """What an ask of one empty allowance is told: the same as long as it has as many whole seconds to wait."""
    return Refusal(limits, _refused([empty], now), empty.empty_until - math.ceil(empty.empty_until - now) + 1)


def _refused(empty: Sequence[Allowance], now: float) -> Ask:
    ask = Ask(empty)
    ask.decide(0, [0] * len(empty), [math.ceil((each.empty_until - now) * 1e6) for each in empty])
    return ask


def _admitted(ask: Ask, now_us: float) -> bool:
    """Whether this process alone lets one more request of an ask pass."""
    buckets = [each.bucket for each in ask.allowances]
    short = admit(buckets, now_us)
    passes = all(bucket.shadow for bucket in short)
    for each, bucket in zip(ask.allowances, buckets, strict=True):
        if bucket in short:
            each.rule.counts.refused += 1
        elif passes:
            each.rule.counts.taken += 1
    return passes
