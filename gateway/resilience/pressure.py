"""Load shedding by loop lag: a controller that turns lag into the share of requests to shed, by criticality.

The lag of the loop is the time in which it serves everything that is ready. Each request waits for it, once on arrival and
once for each reply of a dependency, and it grows when more requests come than can be served.

- The share to shed is found as in PIE (RFC 8033, 4.2): an integral part rises while the lag is above the target and falls
  while it is below, faster the further it is off; a proportional part acts at once, which dampens swings.
- A single high lag is not an overload: a burst or a pause is over with it. So the lower of the last two lags counts
  (CoDel, RFC 8289: a standing queue, not a good one).
- The requests to shed are chosen as in DAGOR (Zhou et al., 2018): from the recent arrivals of each criticality, the least
  critical are shed up to that share of all. At most one criticality is shed in part.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

# The integral part changes by this much a second, and the proportional part by this much, for each target that the lag is
# off. It rises more slowly than it falls: a pause of the machine must not leave a share behind that lasts.
RISE_PER_S: Final = 0.6
FALL_PER_S: Final = 1.5
AT_ONCE: Final = 0.15
# If this share is shed and the lag is still high, shedding itself takes the time, and shedding the rest would not help.
MAX_SHED: Final = 0.97
# A lag this many targets off moves the parts no further.
MAX_INTEGRAL_OFF: Final = 3.0
MAX_AT_ONCE_OFF: Final = 8.0
# Nor does a longer time between two observations.
MAX_STEP_S: Final = 0.1
# How long, about, an arrival counts in the mix.
MIX_S: Final = 1.0


class Pressure:
    """The shares to shed of `levels` criticalities, the most critical first (0). `value` is the share of all requests."""

    def __init__(self, levels: int, *, target_s: float, rng: Callable[[], float] = random.random) -> None:
        self.target_s = target_s
        self.value = 0.0
        # The share of each criticality to shed.
        self.shares = [0.0] * levels
        self._rng = rng
        self._mix = [0.0] * levels
        self._integral = 0.0
        self._last_lag_s = 0.0

    def observe(self, late_s: float, lag_s: float, elapsed_s: float, arrived: Sequence[int]) -> None:
        """Adapt to a lag of `lag_s`, measured `late_s` after it was due, which was the lag before.

        `arrived` are the arrivals of each criticality in the `elapsed_s` since the last observation.
        """
        standing_s = min(lag_s, max(late_s, self._last_lag_s))
        self._last_lag_s = lag_s
        off = standing_s / self.target_s - 1.0
        per_s = RISE_PER_S if off > 0 else FALL_PER_S
        integral = self._integral + per_s * min(off, MAX_INTEGRAL_OFF) * min(elapsed_s, MAX_STEP_S)
        self._integral = min(max(integral, 0.0), MAX_SHED)
        decay = max(1.0 - elapsed_s / MIX_S, 0.0)
        self._mix = [old * decay + new for old, new in zip(self._mix, arrived, strict=True)]
        # The proportional part never sheds the most critical.
        room = max(min(self._less_critical, MAX_SHED) - self._integral, 0.0)
        at_once = min(AT_ONCE * min(off, MAX_AT_ONCE_OFF), room)
        self.value = max(self._integral + at_once, 0.0)
        self._divide()

    @property
    def _less_critical(self) -> float:
        """The share of recent arrivals that are not of the most critical kind."""
        total = sum(self._mix)
        return 1.0 - self._mix[0] / total if total else 1.0

    def reset(self) -> None:
        """Shed nothing."""
        self.value = self._integral = self._last_lag_s = 0.0
        self._divide()

    def sheds(self, criticality: int) -> bool:
        """Whether to shed one request of that criticality now."""
        share = self.shares[criticality]
        return share > 0.0 and self._rng() < share

    def _divide(self) -> None:
        """Set the share of each criticality, the least critical first, so that they add up to `value` of all."""
        left = self.value * sum(self._mix)
        for level in reversed(range(len(self._mix))):
            recent = self._mix[level]
            # A criticality without recent arrivals is shed with the next less critical one.
            self.shares[level] = (min(left / recent, 1.0) if recent else 1.0) if left > 0.0 else 0.0
            left -= recent
