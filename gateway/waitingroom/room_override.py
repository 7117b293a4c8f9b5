"""The setting of a waiting room by an operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from gateway.config.policies import Room

# The bound of the file.
MAX_ADMISSIONS_PER_S: Final = 1e6


@dataclass(frozen=True, slots=True)
class RoomOverride:
    """The setting of an operator; None is that of the file and its events. A rate of 0 pauses the room: it admits no client."""

    enabled: bool | None = None
    admissions_per_s: float | None = None

    def applied_to(self, table: Room) -> Room:
        """The table as the room uses it."""
        return replace(
            table,
            enabled=table.enabled if self.enabled is None else self.enabled,
            admissions_per_s=table.admissions_per_s if self.admissions_per_s is None else self.admissions_per_s,
        )


class UnknownRoom(Exception):
    """The file has no room of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
