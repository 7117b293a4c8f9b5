"""The control socket of a worker: commands as JSON lines over a Unix socket.

A command is `{"command": name, …arguments}`; its reply `{"value": …}` or `{"error": reason}`, with `"is_unavailable": true` if what it
needs is away. The socket lies in a folder of this user alone, so only processes of this gateway can reach it.
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

from gateway.http import problems
from gateway.metrics import Observed

_log = logging.getLogger("peakgate")

# Takes arguments and returns a value: plain JSON both ways. Raises `CommandFailed`.
Command = Callable[[dict[str, Any]], Awaitable[Any]]
# More than the longest configuration that is read.
MAX_LINE_BYTES: Final = 32 * 1024 * 1024


class CommandFailed(Exception):
    """A command cannot be run, with the reason for the operator."""


@asynccontextmanager
async def serve_commands(path: Path, commands: Mapping[str, Command]) -> AsyncIterator[None]:
    """Serve commands at `path` while the context lasts. The socket of a crashed worker is replaced."""
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - a name in a folder of our own
    sessions: set[asyncio.Task[None]] = set()

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        sessions.add(task)
        try:
            # Cancelled below; up to Python 3.11 asyncio logs a cancelled stream task as an error.
            with contextlib.suppress(asyncio.CancelledError):
                await _serve_session(reader, writer, commands)
        finally:
            sessions.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(session, path, limit=MAX_LINE_BYTES)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - as above
        for task in tuple(sessions):
            task.cancel()


def snapshot_of(parts: Mapping[str, Observed]) -> Command:
    """The command that returns `{"parts": {name: snapshot}, "metrics": [family, …]}` of a worker's parts."""

    async def snapshot(_facts: dict[str, Any]) -> Any:
        return {
            "parts": {name: part.snapshot() for name, part in parts.items()},
            "metrics": [metric for part in parts.values() for metric in part.metrics()],
        }

    return snapshot


async def _serve_session(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commands: Mapping[str, Command]
) -> None:
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            writer.write(msgspec.json.encode(await _reply(line, commands)) + b"\n")
            await writer.drain()


async def _reply(line: bytes, commands: Mapping[str, Command]) -> dict[str, Any]:
    try:
        arguments = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError as error:
        return {"error": f"not a command: {error}"}
    name = arguments.pop("command", None)
    command = commands.get(name) if isinstance(name, str) else None
    if command is None:
        return {"error": f"unknown command {name!r}"}
    try:
        # Encoded here, so that a value that is not JSON fails this command and not the connection.
        return {"value": msgspec.Raw(msgspec.json.encode(await command(arguments)))}
    except CommandFailed as why:
        return {"error": str(why)}
    except Exception as error:  # noqa: BLE001 - a command that fails must not end the session
        problem = problems.of_error(error)
        if problem is not None and problem.status == 503:
            _log.warning("the command %s failed: %s", name, error)
            return {"error": str(error), "is_unavailable": True}
        _log.exception("the command %s failed", name)
        return {"error": f"{name} failed: {type(error).__name__}: {error}"}
