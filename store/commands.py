"""Where the first key of a command is, for a cluster. Only commands whose first argument is none need a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from store.resp import Arg

_KEYLESS: Final = 0
_AFTER_STREAMS: Final = -1
# The position of the first key in commands where it is not 1.
POSITIONS: Final[Mapping[Arg, int]] = {
    "EVAL": 3,
    "EVALSHA": 3,
    "XGROUP": 2,
    "XINFO": 2,
    "OBJECT": 2,
    "XREAD": _AFTER_STREAMS,
    "XREADGROUP": _AFTER_STREAMS,
    **dict.fromkeys(
        (
            *("ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "DEBUG", "FLUSHALL", "FLUSHDB", "FUNCTION"),
            *("INFO", "KEYS", "LATENCY", "MEMORY", "PING", "PUBSUB", "SCAN", "SCRIPT", "TIME", "WAIT", "WAITAOF"),
        ),
        _KEYLESS,
    ),
}


def first_key(command: Sequence[Arg]) -> Arg | None:
    """The key by which a cluster routes the command; None if it has none. Names of commands are upper case."""
    position = POSITIONS.get(command[0], 1)
    if position == _AFTER_STREAMS:
        position = command.index("STREAMS") + 1
    if position == _KEYLESS or position >= len(command) or (position == 3 and not command[2]):
        return None
    return command[position]
