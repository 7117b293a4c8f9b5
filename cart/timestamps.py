"""Times in Unix milliseconds, and as RFC 3339 text."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

from primitives.bounded_map import BoundedMap

# A cart has three times. Formatted seconds and this table save 2 µs of rendering it.
_MILLISECONDS: Final = [f".{rest_ms:03d}Z" for rest_ms in range(1000)]
_seconds: Final[BoundedMap[int, str]] = BoundedMap(16_384)


def unix_ms() -> int:
    """The time now, in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def rfc3339(at_ms: int) -> str:
    """A time in Unix milliseconds as RFC 3339 in UTC: `2026-11-27T06:00:00.000Z`."""
    seconds = at_ms // 1000
    text = _seconds.get(seconds)
    if text is None:
        text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:19]
        _seconds.put(seconds, text)
    return text + _MILLISECONDS[at_ms - seconds * 1000]
