"""Whom to refuse while the loop has more to do than it can: a controller that turns long rounds into shares to refuse.

A round is the time in which the loop serves all that is ready. It is what everyone who comes waits, once for the request and
once for each answer of a dependency, and it is what grows when more comes than can be served.

- How much to refuse is found as PIE finds it (RFC 8033, 4.2): a share that rises while rounds are longer than the target and
  falls while they are shorter, faster the further they are off, and a part that follows at once, which keeps it from swinging.
- One long round alone is no overload: a burst, or a pause, that is over with it. So the shorter of the last two counts
  (CoDel, RFC 8289: a standing queue, not a good one).
- Whom to refuse is found as DAGOR finds it (Zhou et al., 2018): from how many of each criticality have come lately, the
  least critical are refused up to that share of all. Of one criticality at most a part is refused and a part is not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

# What the share moves by each second, and what it is changed by at once, for each target that a round is off. It rises more
# slowly than it falls: a pause of the machine is answered at once, and must not leave a share behind that lasts.
RISES_PER_S: Final = 0.6
FALLS_PER_S: Final = 1.5
AT_ONCE: Final = 0.15
# When so many are refused and rounds are long still, it is the refusals that take the time: then it helps no more to refuse the rest.
MOST_REFUSED: Final = 0.97
# Longer rounds than so many targets off tell nothing more.
MOST_MOVED: Final = 3.0
MOST_AT_ONCE: Final = 8.0
# Nor does one of which nothing was seen for longer than this.
MOST_OVER_S: Final = 0.1
# For how long, about, an arrival counts in the mix.
MIX_S: Final = 1.0


class Pressure:
    """`levels` criticalities, the most critical first (0). `value` is the share of all requests to refuse, 0 to 1."""

    def __init__(self, levels: int, *, target_s: float, rng: Callable[[], float] = random.random) -> None:
        self.target_s = target_s
        self.value = 0.0
        # The share of each criticality to refuse.
        self.shares = [0.0] * levels
        self._rng = rng
        self._mix = [0.0] * levels
        self._moved = 0.0
        self._round_before_s = 0.0

    def observe(self, late_s: float, round_s: float, over_s: float, arrived: Sequence[int]) -> None:
        """A round took `round_s` and began `late_s` after it was due, as the one before it took so long.

        Since the last time `over_s` have passed, and so many of each criticality have come.
        """
        standing_s = min(round_s, max(late_s, self._round_before_s))
        self._round_before_s = round_s
        off = standing_s / self.target_s - 1.0
        per_s = RISES_PER_S if off > 0 else FALLS_PER_S
        moved = self._moved + per_s * min(off, MOST_MOVED) * min(over_s, MOST_OVER_S)
        self._moved = min(max(moved, 0.0), MOST_REFUSED)
        kept = max(1.0 - over_s / MIX_S, 0.0)
        self._mix = [old * kept + new for old, new in zip(self._mix, arrived, strict=True)]
        # A moment's need is never taken from the most critical.
        at_once = min(AT_ONCE * min(off, MOST_AT_ONCE), max(min(self._less_critical, MOST_REFUSED) - self._moved, 0.0))
        self.value = max(self._moved + at_once, 0.0)
        self._divide()

    @property
    def _less_critical(self) -> float:
        """The share of those that came lately that are not of the most critical kind."""
        come = sum(self._mix)
        return 1.0 - self._mix[0] / come if come else 1.0

    def relax(self) -> None:
        """Forget all pressure."""
        self.value = self._moved = self._round_before_s = 0.0
        self._divide()

    def sheds(self, criticality: int) -> bool:
        """Whether to refuse one of that criticality now."""
        share = self.shares[criticality]
        return share > 0.0 and self._rng() < share

    def _divide(self) -> None:
        """Refuse so many of each, the least critical first, as are `value` of all."""
        left = self.value * sum(self._mix)
        for level in reversed(range(len(self._mix))):
            come = self._mix[level]
            # Those of whom none came lately go with the ones less critical than they are.
            self.shares[level] = (min(left / come, 1.0) if come else 1.0) if left > 0.0 else 0.0
            left -= come
