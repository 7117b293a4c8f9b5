"""The setting of a switch by an operator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Override:
    """The setting of an operator; None is the setting of the file."""

    enabled: bool | None = None
    percent: float | None = None


class UnknownSwitch(Exception):
    """The file has no switch of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
