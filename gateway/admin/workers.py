"""Calls the workers over their control sockets, without waiting for one that is stuck."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.control.commands import MAX_LINE_BYTES
from gateway.control.runtime_directory import CONTROL, ChildState, RuntimeDirectory

REPLY_TIMEOUT_S: Final = 1.0
# Of a command that changes something: a worker that is busy for a moment must not be reported as one that refused.
ACT_TIMEOUT_S: Final = 10.0


class NoReply(Exception):
    """The worker did not reply in time."""


class WorkerGone(NoReply):
    """The worker has no control socket: it is starting, or has ended."""


class WorkerFailed(Exception):
    """The worker could not run the command, with the reason."""


class WorkerLacks(WorkerFailed):
    """What the command needs is unavailable: the store, the archive or the key service."""


class Workers:
    """All workers of this gateway. Every command has a connection of its own, so that none waits behind another."""

    def __init__(
        self,
        runtime: RuntimeDirectory,
        *,
        reply_timeout_s: float = REPLY_TIMEOUT_S,
        act_timeout_s: float = ACT_TIMEOUT_S,
    ) -> None:
        self.act_timeout_s = act_timeout_s
        self._runtime = runtime
        self._answer_timeout_s = reply_timeout_s

    def all(self) -> Sequence[ChildState]:
        """The running workers, as the supervisor published them last."""
        return [child for child in self._runtime.children if child.service != CONTROL]

    async def call(self, worker: str, command: str, *, timeout_s: float | None = None, **arguments: Any) -> Any:
        """The value of a command. Raises `NoReply` or `WorkerFailed`."""
        timeout_s = self._answer_timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._exchange(worker, msgspec.json.encode({"command": command, **arguments}))
        except TimeoutError as error:
            raise NoReply(f"did not reply within {timeout_s:g} s") from error
        except (FileNotFoundError, ConnectionError) as error:
            raise WorkerGone("is not running") from error
        except OSError as error:
            # The backlog of a worker that hangs is full.
            raise NoReply(f"does not reply: {error.strerror}") from error
        if not line:
            raise WorkerGone("ended before it replied")
        reply = msgspec.json.decode(line, type=dict[str, Any])
        if "value" not in reply:
            failure = WorkerLacks if reply.get("is_unavailable") else WorkerFailed
            raise failure(str(reply.get("error")))
        return reply["value"]

    async def call_all(self, command: str, *, timeout_s: float | None = None, **arguments: Any) -> Mapping[str, Any]:
        """Run a command in every worker at once; by name the value, or the `NoReply` or `WorkerFailed`."""

        async def outcome(worker: str) -> Any:
            try:
                return await self.call(worker, command, timeout_s=timeout_s, **arguments)
            except (NoReply, WorkerFailed) as error:
                return error

        names = [worker.name for worker in self.all()]
        return dict(zip(names, await asyncio.gather(*map(outcome, names)), strict=True))

    async def _exchange(self, worker: str, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._runtime.socket_of(worker), limit=MAX_LINE_BYTES)
        try:
            writer.write(line + b"\n")
            return await reader.readline()
        finally:
            writer.close()
