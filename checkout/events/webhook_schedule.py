"""When a webhook is tried again."""

from __future__ import annotations

from typing import Final

# The pauses before attempts 2 to 8, in seconds: attempts at 0, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h after the one before.
DELAYS_S: Final = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0)
MAX_ATTEMPTS: Final = len(DELAYS_S) + 1
# A pause is longer by up to this share, so that messages which failed together are not repeated together.
JITTER: Final = 0.1
# An endpoint cannot ask for a longer pause than this.
MAX_RETRY_AFTER_S: Final = 86_400.0


def next_delay_s(attempt: int, *, chance: float, retry_after_s: float | None = None) -> float | None:
    """The pause after attempt number `attempt`, None after the last; `chance` is a number from 0 to 1.

    It is no shorter than the endpoint asks for with `Retry-After`, up to a day.
    """
    if attempt >= MAX_ATTEMPTS:
        return None
    delay_s = DELAYS_S[attempt - 1] * (1 + JITTER * chance)
    return max(delay_s, min(retry_after_s or 0.0, MAX_RETRY_AFTER_S))
