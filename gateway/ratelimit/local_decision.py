"""Decisions while the store is away, by the local buckets that hold the share of this process."""

from __future__ import annotations

from gateway.ratelimit.batch import Allowance, Batch, Group
from gateway.ratelimit.gcra import admit


def decide_locally(allowances: list[Allowance], now_us: float) -> Group:
    """The decided group of one request."""
    group = Group(allowances)
    _decide(group, _is_admitted(group, now_us), now_us)
    return group


def decide_batch_locally(batch: Batch, now_us: float) -> None:
    """Decide the requests of a batch in the order of arrival."""
    granted = [0] * len(batch.groups)
    for number in batch.order:
        granted[number - 1] += _is_admitted(batch.groups[number - 1], now_us)
    for group, count in zip(batch.groups, granted, strict=True):
        _decide(group, count, now_us)
    batch.decide()


def _decide(group: Group, granted: int, now_us: float) -> None:
    states = [each.bucket.take(now_us, 0) for each in group.allowances]
    group.decide(granted, [each.left for each in states], [each.wait_us for each in states], is_local=True)


def _is_admitted(group: Group, now_us: float) -> bool:
    """Take a unit of each bucket for one more request of a group, or none; returns whether it is admitted."""
    buckets = [each.bucket for each in group.allowances]
    short = admit(buckets, now_us)
    is_admitted = all(bucket.shadow for bucket in short)
    for each, bucket in zip(group.allowances, buckets, strict=True):
        if bucket in short:
            each.rule.counts.rejected += 1
        elif is_admitted:
            each.rule.counts.granted += 1
    return is_admitted
