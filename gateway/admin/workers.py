"""The workers as the control process sees them: who lives, and a way to ask each without waiting for a stuck one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.control.commands import LONGEST_LINE
from gateway.control.runtime_directory import CONTROL, ChildState, RuntimeDirectory

ANSWER_TIMEOUT_S: Final = 1.0


class NoAnswer(Exception):
    """The worker was not there, or not in time."""


class WorkerGone(NoAnswer):
    """Nobody takes commands for it: it has not begun to, or has ended."""


class WorkerRefused(Exception):
    """The worker cannot do it; the text says why."""


class Workers:
    """All workers of this gateway. Every command has a connection of its own, so that none waits behind another."""

    def __init__(self, runtime: RuntimeDirectory, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._runtime = runtime
        self._answer_timeout_s = answer_timeout_s

    def all(self) -> Sequence[ChildState]:
        """Those that live, as the parent told last."""
        return [child for child in self._runtime.children if child.service != CONTROL]

    async def ask(self, worker: str, command: str, *, timeout_s: float | None = None, **facts: Any) -> Any:
        """The value of a command. Raises `NoAnswer` or `WorkerRefused`."""
        timeout_s = self._answer_timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._exchange(worker, msgspec.json.encode({"command": command, **facts}))
        except TimeoutError as error:
            raise NoAnswer(f"did not answer within {timeout_s:g} s") from error
        except (FileNotFoundError, ConnectionError) as error:
            raise WorkerGone("is not there") from error
        except OSError as error:
            # A worker that hangs accepts nothing, until no more callers fit in its queue.
            raise NoAnswer(f"does not answer: {error.strerror}") from error
        if not line:
            raise WorkerGone("ended before it answered")
        reply = msgspec.json.decode(line, type=dict[str, Any])
        if "value" not in reply:
            raise WorkerRefused(str(reply.get("refused")))
        return reply["value"]

    async def ask_all(self, command: str, *, timeout_s: float | None = None, **facts: Any) -> Mapping[str, Any]:
        """The same of every worker at once, by name: its value, or the `NoAnswer` or `WorkerRefused` in its place."""

        async def outcome(worker: str) -> Any:
            try:
                return await self.ask(worker, command, timeout_s=timeout_s, **facts)
            except (NoAnswer, WorkerRefused) as error:
                return error

        names = [worker.name for worker in self.all()]
        return dict(zip(names, await asyncio.gather(*map(outcome, names)), strict=True))

    async def _exchange(self, worker: str, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._runtime.socket_of(worker), limit=LONGEST_LINE)
        try:
            writer.write(line + b"\n")
            return await reader.readline()
        finally:
            writer.close()
