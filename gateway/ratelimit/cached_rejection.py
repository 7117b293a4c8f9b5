"""Rejections without a call of the store: a client that is over a limit stays so until there may be a unit again."""

from __future__ import annotations

import math

from gateway.ratelimit.batch import Allowance, CachedRejection, Group


def cached_rejection(limits: object, allowances: list[Allowance], now: float) -> Group | None:
    """The decided group of a client that is known to be over a limit; None when there may be units again.

    `limits` is the limit set of the request: the same rejection is not used for another.
    """
    spent = [each for each in allowances if each.empty_until > now]
    for each in spent:
        each.rule.counts.rejected += 1
        each.rule.counts.rejected_from_cache += 1
    if len(spent) == 1:
        cached = spent[0].rejection
        if cached is None or cached.until <= now or cached.limits is not limits:
            cached = spent[0].rejection = _cached(limits, spent[0], now)
        return cached.group
    if spent:
        return _rejected_group(spent, now)
    for each in allowances:
        each.empty_until, each.rejection = 0.0, None
    return None


def _cached(limits: object, spent: Allowance, now: float) -> CachedRejection:
    """The rejection for one spent allowance: the same while its wait has the same whole seconds."""
    return CachedRejection(
        limits, _rejected_group([spent], now), spent.empty_until - math.ceil(spent.empty_until - now) + 1
    )


def _rejected_group(spent: list[Allowance], now: float) -> Group:
    group = Group(spent)
    group.decide(0, [0] * len(spent), [math.ceil((each.empty_until - now) * 1e6) for each in spent])
    return group
