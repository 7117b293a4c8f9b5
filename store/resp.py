"""Commands as RESP arrays of bulk strings; replies are decoded by hiredis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import hiredis

from store.errors import ReplyError

Arg = bytes | str | int | float

# The result of a reader until it has the whole of the next reply.
INCOMPLETE: Final = object()


def new_reader() -> Any:
    """A decoder of replies; error replies become `ReplyError`."""
    return hiredis.Reader(replyError=ReplyError, notEnoughData=INCOMPLETE)


# Rendered beforehand: the line of an argument's length costs more than to copy the argument.
_LENGTHS: Final[Sequence[bytes]] = [b"\r\n$%d\r\n" % length for length in range(1024)]


def encode_command(command: Sequence[Arg]) -> bytes:
    """The bytes of a command. Numbers are sent as Python writes them. Raises TypeError for an argument of another type."""
    parts = [b"*%d" % len(command)]
    for arg in command:
        if isinstance(arg, str):
            data = arg.encode()
        elif isinstance(arg, bytes):
            data = arg
        elif isinstance(arg, int | float):
            data = repr(arg).encode()
        else:
            raise TypeError(f"a command takes no {type(arg).__name__}")
        length = len(data)
        parts.append(_LENGTHS[length] if length < 1024 else b"\r\n$%d\r\n" % length)
        parts.append(data)
    parts.append(b"\r\n")
    return b"".join(parts)
