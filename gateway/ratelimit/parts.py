"""A batch on a cluster: a call for each partition of the clients in it, and the decisions put together.

A request passes if each of its parts grants it. A part always grants the first requests of a group, so the least number is the
group's; what the other parts granted beyond it is given back.
"""

from __future__ import annotations

import struct

from gateway.ratelimit.batch import Allowance, Batch, Rule


class Part:
    """What a batch takes in one partition. `positions` are those of its keys in the batch, `reply` that of `take.lua`."""

    __slots__ = ("_limit_args", "_limits", "_order", "_rules", "_shape", "asks", "keys", "positions", "reply")

    def __init__(self) -> None:
        self.keys: list[Allowance] = []
        self.positions: list[int] = []
        # For each ask the positions of its keys in this part, from 0.
        self.asks: list[list[int]] = []
        self.reply: list[int] = []
        self._rules: dict[Rule, int] = {}
        self._limits: list[int] = []
        self._limit_args: list[bytes] = []
        self._shape: list[int] = []
        self._order: list[int] = []

    def add_key(self, allowance: Allowance, position: int) -> int:
        """Add a key that is at this position of the batch; returns its position here."""
        rule = allowance.rule
        limit = self._rules.get(rule)
        if limit is None:
            limit = self._rules[rule] = len(self._rules) + 1
            self._limit_args += rule.args
        self._limits.append(limit)
        self.keys.append(allowance)
        self.positions.append(position)
        return len(self.keys) - 1

    def add_ask(self, own: list[int]) -> int:
        """Add a group's keys; returns the number of the ask, from 1."""
        self.asks.append(own)
        self._shape.append(len(own))
        self._shape += [position + 1 for position in own]
        return len(self.asks)

    def add_request(self, ask: int) -> None:
        """Add a request of an ask."""
        self._order.append(ask)

    def arguments(self) -> list[bytes]:
        """The arguments of `take.lua`."""
        numbers = [len(self.asks), *self._limits, *self._shape, *self._order]
        return [*self._limit_args, struct.pack(f"<{len(numbers)}H", *numbers)]


def split(batch: Batch) -> list[Part]:
    """The parts of a batch. Its keys become `batch.keys`, in their order."""
    number, keys = batch.number, batch.keys
    parts: dict[int, Part] = {}
    for group in batch.groups:
        positions: list[int] = []
        own: dict[int, list[int]] = {}
        for each in group.allowances:
            part = parts.get(each.partition)
            if part is None:
                part = parts[each.partition] = Part()
            if each.batch != number:
                each.batch, each.index = number, len(keys)
                each.index_in_part = part.add_key(each, len(keys))
                keys.append(each)
            positions.append(each.index)
            own.setdefault(each.partition, []).append(each.index_in_part)
        group.positions = positions
        group.asks = [(parts[partition], parts[partition].add_ask(places)) for partition, places in own.items()]
    for index in batch.order:
        for part, ask in batch.groups[index - 1].asks:
            part.add_request(ask)
    return list(parts.values())


def put_together(batch: Batch, parts: list[Part]) -> tuple[list[int], list[list[int]]]:
    """The reply of one call for the whole batch, and of each part the units to give back of each of its keys."""
    surplus = {part: [0] * len(part.keys) for part in parts}
    granted: list[int] = []
    for group in batch.groups:
        least = min([part.reply[ask - 1] for part, ask in group.asks])
        granted.append(least)
        for part, ask in group.asks:
            if beyond := part.reply[ask - 1] - least:
                back = surplus[part]
                for position in part.asks[ask - 1]:
                    back[position] += beyond
    count = len(batch.keys)
    left, waits_us, short = [0] * count, [0] * count, [0] * count
    for part in parts:
        reply, asks, own, back = part.reply, len(part.asks), len(part.keys), surplus[part]
        for index, position in enumerate(part.positions):
            left[position] = reply[asks + index] + back[index]
            waits_us[position] = reply[asks + own + index]
            short[position] = reply[asks + 2 * own + index]
    return [*granted, *left, *waits_us, *short], [surplus[part] for part in parts]


def returned(part: Part, units: list[int]) -> tuple[list[bytes], list[bytes]]:
    """The keys and arguments of `give_back.lua`."""
    given = [(key, count) for key, count in zip(part.keys, units, strict=True) if count]
    args: list[bytes] = []
    for key, count in given:
        args += (key.rule.args[0], b"%d" % count)
    return [key.key for key, _ in given], args
