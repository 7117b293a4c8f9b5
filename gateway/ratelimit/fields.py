"""The header fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from gateway.config.policies import Limit
from gateway.http.message import header
from gateway.ratelimit.batch import Group
from primitives.digits import digits

_POLICY: Final = b"RateLimit-Policy: "
_STATE: Final = b"RateLimit: "


class LimitFields:
    """Renders both fields for the limits of a route."""

    __slots__ = ("_policy",)

    def __init__(self, limits: Sequence[Limit]) -> None:
        policies = [_policy(limit) for limit in limits if not limit.shadow]
        self._policy = header("RateLimit-Policy", ", ".join(policies)) if policies else b""

    def of(self, group: Group) -> bytes:
        """The header lines of a group: the state of its limits after their batch."""
        left, waits_us, positions = group.left, group.waits_us, group.positions
        parts: list[bytes] = [self._policy]
        separator = _STATE
        for index, allowance in enumerate(group.allowances):
            rule = allowance.rule
            if not rule.is_shadow:
                position = positions[index]
                parts.append(separator)
                parts.append(rule.state_opening)
                parts.append(digits(left[position]))
                parts.append(b";t=")
                parts.append(digits(-(-waits_us[position] // 1_000_000)))
                separator = b", "
        if len(parts) == 1:
            return b""
        parts.append(b"\r\n")
        return b"".join(parts)


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
