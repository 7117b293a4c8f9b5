"""Whom to refuse while the loop runs late: a controller that turns lateness into shares of each criticality to shed.

`pressure` rises while the loop is later than its target and falls while it is earlier, so that it settles where as much is
refused as keeps the loop at its target (an integral controller). At 1 all of the least critical are refused and none of the
others, at 2 the next as well, and in between a share.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

# Of how far the lateness is from the target, in targets: what the pressure moves by each second.
RISE_PER_S: Final = 4.0
FALL_PER_S: Final = 1.5
# A loop that stood still for long tells no more than one that was this many targets late.
MOST_TARGETS: Final = 3.0


class Pressure:
    """`levels` criticalities, the most critical first (0). The lateness is in seconds, as is `target_s`."""

    def __init__(self, levels: int, *, target_s: float, rng: Callable[[], float] = random.random) -> None:
        self._levels = levels
        self.target_s = target_s
        self._rng = rng
        self.value = 0.0

    def observe(self, late_s: float, over_s: float) -> None:
        """The loop was `late_s` late; `over_s` have passed since the last time."""
        off = min(late_s / self.target_s - 1.0, MOST_TARGETS)
        change = off * (RISE_PER_S if off > 0 else FALL_PER_S) * min(over_s, 0.25)
        self.value = min(max(self.value + change, 0.0), float(self._levels))

    def share_shed(self, criticality: int) -> float:
        """The share of requests of a criticality to refuse, 0 to 1."""
        return min(max(self.value - (self._levels - 1 - criticality), 0.0), 1.0)

    def sheds(self, criticality: int) -> bool:
        """Whether to refuse one of that criticality now."""
        share = self.share_shed(criticality)
        return share > 0.0 and self._rng() < share
