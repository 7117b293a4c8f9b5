"""The states of a circuit breaker, a change of state, and the counts that decide it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """The state of a breaker. `RAMPING` is closed for a rising share of calls, after the probe has succeeded."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    RAMPING = "ramping"


class Change(NamedTuple):
    """A change of state: `at` in Unix seconds, and why."""

    at: float
    state: State
    reason: str


class Counts(NamedTuple):
    """Calls in a window, and how many of them failed, or succeeded but were slow."""

    calls: int
    failures: int
    slow: int
