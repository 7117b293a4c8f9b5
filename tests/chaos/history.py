"""What clients did at once: operations with the times at which they began and ended, for each key."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

# A result that was not seen.
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one client. Times are seconds of one monotonic clock.

    `ended_s` is infinite where there was no response: it may have happened since it began, or not.
    """

    name: str
    argument: Any
    result: Any
    began_s: float
    ended_s: float

    @property
    def has_happened(self) -> bool:
        """Whether its client knows that it has."""
        return self.ended_s < math.inf

    def __str__(self) -> str:
        until = f"{self.ended_s:.4f}" if self.has_happened else "…"
        return f"{self.began_s:.4f} to {until}: {self.name}({self.argument}) = {self.result}"


class History:
    """The operations of all clients by key."""

    def __init__(self) -> None:
        self.operations: dict[str, list[Operation]] = {}

    def add(self, key: str, operation: Operation) -> None:
        """Record an operation."""
        self.operations.setdefault(key, []).append(operation)
