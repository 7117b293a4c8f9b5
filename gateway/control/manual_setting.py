"""A setting that an operator has made by hand, as the processes of a gateway share it."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

# The kinds of settings: each is the name of the worker's command as well.
Kind = Literal["switch", "drill", "room", "event"]
KINDS: Final[tuple[Kind, ...]] = ("switch", "drill", "room", "event")


class ManualSetting(Struct, frozen=True):
    """The arguments of the worker's command, and until when they apply (Unix seconds; None: until they are withdrawn)."""

    values: dict[str, Any]
    until: float | None = None
