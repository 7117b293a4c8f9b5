"""The values of the last minutes: a ring of samples for each line of a plot, bounded in time and in number."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from math import isnan, nan
from typing import Final

# A sample every five seconds, for 15 minutes.
STEP_S: Final = 5
SAMPLES: Final = 180
# Lines at a time: plots have few, but those by route or problem grow with the configuration.
MAX_LINES: Final = 600


class History:
    """Samples of lines. A line without a value at a moment has a gap there; one with gaps only is forgotten."""

    def __init__(self, *, samples: int = SAMPLES, max_lines: int = MAX_LINES) -> None:
        self._max_lines = max_lines
        self._times = array("d", [nan]) * samples
        self._lines: dict[str, array[float]] = {}
        self._next = 0
        # Lines that found no room.
        self.dropped = 0

    def add(self, at: float, values: Mapping[str, float]) -> None:
        """Add the values of a moment, in Unix seconds, by line; the oldest sample goes."""
        place = self._next
        self._next = (place + 1) % len(self._times)
        self._times[place] = at
        for line in self._lines.values():
            line[place] = nan
        for name, value in values.items():
            if name not in self._lines and len(self._lines) >= self._max_lines:
                self.dropped += 1
                continue
            self._lines.setdefault(name, array("d", [nan]) * len(self._times))[place] = value
        if place == 0:
            self._lines = {name: line for name, line in self._lines.items() if not all(map(isnan, line))}

    @property
    def times(self) -> list[float]:
        """The times of the samples, the oldest first."""
        return [each for each in self._in_order(self._times) if not isnan(each)]

    def lines(self) -> dict[str, list[float | None]]:
        """The samples of each line at `times`; None is a gap."""
        skipped = sum(map(isnan, self._times))
        return {
            name: [None if isnan(value) else round(value, 6) for value in list(self._in_order(line))[skipped:]]
            for name, line in self._lines.items()
        }

    def _in_order(self, ring: array[float]) -> Iterator[float]:
        yield from ring[self._next :]
        yield from ring[: self._next]
