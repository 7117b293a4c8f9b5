"""The quotas of all limits: exact in Redis, and the share of this process while Redis is away.

The requests of one loop tick are decided by one script call (`batch_sender`). A client that is over a limit is rejected
without one until there may be a unit again (`cached_rejection`). While the store is away, local buckets with the share
of this process decide (`local_decision`).

Times of this process are seconds of `clock`; the store counts with a clock of its own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final

from gateway.config.policies import Limit
from gateway.metrics import Metric
from gateway.ratelimit.batch import Counts, Rule
from gateway.ratelimit.batch_sender import TIMEOUT_S, BatchSender
from gateway.ratelimit.limit_set import LimitSet
from gateway.ratelimit.quota_stats import quota_metrics, snapshot_of
from store import Store

# Clients cached by each limit, in each of two generations.
MAX_CLIENTS: Final = 10_000
# Of a cluster: enough to use several of its nodes, few enough that a batch is a few calls.
PARTITIONS: Final = 4


class RedisQuota:
    """The quotas of all limits. One per process; `update` keeps the state of limits that do not change.

    `share` is the part of each quota that this process may grant while the store is away: one in so many processes.
    `timeout_s` is how long the store may take to reply; up to 14 ms more pass before a batch is decided without it.
    `secret` keys the digests of clients in the store; all gateways of one store need the same.
    All keys carry one hash `tag`, because one script takes from all limits of a request, and some limits are common to
    all requests. On a cluster the clients are spread over `partitions`, each with a tag of its own; a batch has a call for
    each. A request takes a unit of all its limits or of none there too; for the time of a call, though, those of
    requests that another partition refuses are missing to others.
    """

    def __init__(
        self,
        store: Store,
        *,
        share: float,
        secret: bytes = b"",
        tag: str = "rl",
        partitions: int = 1,
        timeout_s: float = TIMEOUT_S,
        max_clients: int = MAX_CLIENTS,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._share = share
        # Derived, so that the same secret can have other uses.
        self._secret = blake2b(secret, digest_size=32, person=b"peakgate-limits").digest() if secret else b""
        self._tag = tag
        self._partitions = partitions
        self._max_clients = max_clients
        self._clock = clock
        self._rules: dict[str, Rule] = {}
        self._counts: dict[str, Counts] = {}
        # No limit of the file has an empty name.
        probe = self._new_rule(Limit(name="", by="global", quota=1_000_000), Counts()).common_to("")
        self._sender = BatchSender(store, probe, is_split=partitions > 1, timeout_s=timeout_s, clock=clock, rng=rng)

    def limits_of(self, limits: Iterable[Limit], route: str) -> LimitSet:
        """The limits of a route, in this order; `route` names it for limits that count by route."""
        return LimitSet(self._sender, [self._rule_of(limit) for limit in limits], route, self._clock)

    def update(self, limits: Iterable[Limit]) -> None:
        """Drop limits that are not among these, and the clients of limits that have changed."""
        current = {limit.name: limit for limit in limits}
        self._rules = {name: rule for name, rule in self._rules.items() if current.get(name) == rule.limit}
        self._counts = {name: counts for name, counts in self._counts.items() if name in current}

    async def close(self) -> None:
        """Decide the waiting requests, and call the store no more."""
        self._sender.close()

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        sender = self._sender
        local_s = sender.outage.seconds
        return {
            "limits": {name: snapshot_of(counts) for name, counts in self._counts.items()},
            "shadows": sorted(rule.limit.name for rule in self._rules.values() if rule.limit.shadow),
            "local_for_s": None if local_s is None else round(local_s, 3),
            "local_because": None if local_s is None else sender.outage.reason,
            "batches": sender.batches,
            "requests_per_batch": round(sender.requests / sender.batches, 2) if sender.batches else None,
        }

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        shadows = {rule.limit.name for rule in self._rules.values() if rule.limit.shadow}
        return quota_metrics(
            self._counts,
            shadows,
            batches=self._sender.batches,
            requests=self._sender.requests,
            is_local=self._sender.outage.since is not None,
        )

    def _rule_of(self, limit: Limit) -> Rule:
        rule = self._rules.get(limit.name)
        if rule is None or rule.limit != limit:
            counts = self._counts.setdefault(limit.name, Counts())
            rule = self._rules[limit.name] = self._new_rule(limit, counts)
        return rule

    def _new_rule(self, limit: Limit, counts: Counts) -> Rule:
        return Rule(
            limit,
            counts,
            share=self._share,
            tag=self._tag,
            partitions=self._partitions,
            secret=self._secret,
            max_clients=self._max_clients,
        )
