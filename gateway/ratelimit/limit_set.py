"""The limits of a route, and the group of requests that each of its clients has in this loop tick."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from operator import attrgetter
from typing import Final

from gateway.http.message import Request
from gateway.ratelimit.batch import Allowance, Group, Rule
from gateway.ratelimit.batch_sender import BatchSender
from gateway.ratelimit.cached_rejection import cached_rejection
from gateway.ratelimit.local_decision import decide_locally

# The attribute of a request that a limit counts by; none where it counts all requests, or all of a route.
_ATTRIBUTE: Final = {"address": "client", "api_key": "api_key", "shopper": "shopper"}


class LimitSet:
    """The limits of a route. `open` has the groups of this tick, by the key that `client_of` gives."""

    def __init__(self, sender: BatchSender, rules: Sequence[Rule], route: str, clock: Callable[[], float]) -> None:
        self.open: dict[Hashable, Group] = {}
        attributes = [_ATTRIBUTE.get(rule.limit.by) for rule in rules]
        named = dict.fromkeys(attribute for attribute in attributes if attribute is not None)
        self.client_of: Callable[[Request], Hashable] = attrgetter(*named) if named else _any_client
        self._sender = sender
        self._clock = clock
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
        if may_be_spent and (rejected := cached_rejection(self, allowances, self._clock())):
            return rejected
        batch = self._sender.batch_of(self.open)
        if batch is None:
            return decide_locally(allowances, self._clock() * 1e6)
        batch.size += len(allowances)
        group = self.open[client] = Group(allowances, batch)
        return group


def _any_client(_request: Request) -> Hashable:
    return ""
