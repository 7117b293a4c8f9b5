"""The header fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from gateway.config.policies import Limit
from gateway.http.message import header
from gateway.ratelimit.batch import Group

MAX_RENDERED: Final = 4_096
_POLICY: Final = b"RateLimit-Policy: "
_STATE: Final = b"RateLimit: "


class LimitFields:
    """Renders both fields for the limits of a route."""

    __slots__ = ("_policy", "_rendered")

    def __init__(self, limits: Sequence[Limit]) -> None:
        policies = [_policy(limit) for limit in limits if not limit.shadow]
        self._policy = header("RateLimit-Policy", ", ".join(policies)) if policies else b""
        # A limit has few states that differ: a look-up costs a fifth of rendering one.
        self._rendered: dict[tuple[str, int, int], bytes] = {}

    def of(self, group: Group) -> bytes:
        """The header lines of a group: the state of its limits after their batch."""
        left, waits_us, positions = group.left, group.waits_us, group.positions
        items: list[bytes] = []
        for index, allowance in enumerate(group.allowances):
            rule = allowance.rule
            if not rule.is_shadow:
                position = positions[index]
                items.append(self._item(rule.name, left[position], -(-waits_us[position] // 1_000_000)))
        return self._policy + b"RateLimit: " + b", ".join(items) + b"\r\n" if items else b""

    def _item(self, name: str, left: int, wait_s: int) -> bytes:
        state = (name, left, wait_s)
        item = self._rendered.get(state)
        if item is None:
            if len(self._rendered) >= MAX_RENDERED:
                self._rendered.clear()
            item = self._rendered[state] = b'"%b";r=%d;t=%d' % (name.encode(), left, wait_s)
        return item


def merge_fields(extra_headers: bytes, fields: bytes) -> bytes:
    """The fields of one limiter merged into those of another before it: each field once, as not all clients join them."""
    if not fields:
        return extra_headers
    policy_line, state_line = fields.split(b"\r\n")[:2]
    policy, state = policy_line.partition(b": ")[2], state_line.partition(b": ")[2]
    before, _, rest = extra_headers.partition(_POLICY)
    first_policy, _, rest = rest.partition(b"\r\n" + _STATE)
    first_state, _, after = rest.partition(b"\r\n")
    return b"".join(
        [before, _POLICY, first_policy, b", ", policy, b"\r\n", _STATE, first_state, b", ", state, b"\r\n", after]
    )


def _policy(limit: Limit) -> str:
    # The draft has whole seconds only, so other windows are given by the units they grant in those.
    window_s = math.ceil(limit.window_s)
    quota = max(math.floor(limit.quota * window_s / limit.window_s), 1)
    burst = "" if limit.burst in {None, limit.quota} else f";peakgate-burst={limit.burst}"
    return f'"{limit.name}";q={quota};w={window_s}{burst}'
