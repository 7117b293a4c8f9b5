"""What a worker does for the control process: commands over a Unix socket, one JSON line each, answered by one.

A command is `{"command": name, …facts}`; its reply `{"value": …}` or `{"refused": why}`. Nobody but processes of this
gateway can reach the socket, as it lies in a folder of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.metrics import Observed

_log = logging.getLogger("peakgate")

# Gets the facts, gives the value: plain JSON on both sides. Raises `Refused` for what it cannot do.
Command = Callable[[dict[str, Any]], Awaitable[Any]]
# Above the longest configuration that is read.
LONGEST_LINE: Final = 32 * 1024 * 1024


class Refused(Exception):
    """A command cannot be done; the text says why, for the operator who gave it."""


@asynccontextmanager
async def serve_commands(path: Path, commands: Mapping[str, Command]) -> AsyncIterator[None]:
    """Take commands at `path` while the context lasts. What a crashed worker has left there is replaced."""
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - a name in a folder of our own
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            # Cancelled below; up to Python 3.11 a task of asyncio's streams that ends so is reported as a fault.
            with contextlib.suppress(asyncio.CancelledError):
                await _talk(reader, writer, commands)
        finally:
            talks.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(talk, path, limit=LONGEST_LINE)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - as above
        for task in tuple(talks):
            task.cancel()


def snapshot_of(parts: Mapping[str, Observed]) -> Command:
    """The command that tells of the parts of a worker: `{"parts": {name: snapshot}, "metrics": [family, …]}`."""

    async def snapshot(_facts: dict[str, Any]) -> Any:
        return {
            "parts": {name: part.snapshot() for name, part in parts.items()},
            "metrics": [metric for part in parts.values() for metric in part.metrics()],
        }

    return snapshot


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commands: Mapping[str, Command]) -> None:
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            writer.write(msgspec.json.encode(await _reply(line, commands)) + b"\n")
            await writer.drain()


async def _reply(line: bytes, commands: Mapping[str, Command]) -> dict[str, Any]:
    try:
        facts = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError as error:
        return {"refused": f"this is no command: {error}"}
    name = facts.pop("command", None)
    command = commands.get(name) if isinstance(name, str) else None
    if command is None:
        return {"refused": f"this worker knows no command {name!r}"}
    try:
        # Encoded here, so that a value that is no JSON is this command's failure and not the connection's.
        return {"value": msgspec.Raw(msgspec.json.encode(await command(facts)))}
    except Refused as why:
        return {"refused": str(why)}
    except Exception as error:  # noqa: BLE001 - whatever it was, the worker and its other commands go on
        _log.exception("the command %s failed", name)
        return {"refused": f"{name} failed: {type(error).__name__}: {error}"}
