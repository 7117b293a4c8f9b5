"""A store server that crashes, and has lost the last of its writes when it is there again."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.harness.store_pair import StoreServer, await_condition
from store import Client, PinnedStore, Script

# The file is written before each reply; only a crash of the host would lose its end, so a test cuts it off.
OPTIONS: Final = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")


class LossyServer:
    """A server whose append-only file loses its tail in a crash."""

    def __init__(self, folder: Path) -> None:
        self._server = StoreServer(folder, *OPTIONS)
        self._kept = 0

    @property
    def url(self) -> str:
        """Its address."""
        return self._server.url

    def keep(self) -> None:
        """No crash loses what is written now."""
        self._await_file()
        self._kept = len(_writes(self._file().read_bytes()))

    def crash(self, lost: int) -> None:
        """Die, lose up to so many of the last writes (a script's are one), and serve again."""
        self._await_file()
        self._server.kill()
        file = self._file()
        content = file.read_bytes()
        ends = _writes(content)
        left = max(len(ends) - lost, self._kept)
        file.write_bytes(content[: ends[left - 1] if left else 0])
        self._server.start()

    def stop(self) -> None:
        """End it."""
        self._server.kill()

    def _await_file(self) -> None:
        """While the file is flushed to disk, the server does not write to it."""
        await_condition(lambda: self._server.info("persistence")["aof_buffer_length"] == 0)

    def _file(self) -> Path:
        (file,) = (self._server.folder / "appendonlydir").glob("*.incr.aof")
        return file


def _writes(content: bytes) -> list[int]:
    """Where each write ends: a command, or a transaction as which a script's writes are stored."""
    ends: list[int] = []
    position, is_transaction = 0, False
    while position < len(content):
        count = int(content[position + 1 : content.index(b"\r\n", position)])
        position = content.index(b"\r\n", position) + 2
        words = []
        for _ in range(count):
            end_of_length = content.index(b"\r\n", position)
            length = int(content[position + 1 : end_of_length])
            words.append(content[end_of_length + 2 : end_of_length + 2 + length])
            position = end_of_length + 2 + length + 2
        name = words[0].upper()
        is_transaction = name == b"MULTI" or (is_transaction and name != b"EXEC")
        if not is_transaction and name != b"SELECT":
            ends.append(position)
    return ends


class CrashingStore(PinnedStore):
    """A store whose server crashes after write number `at` of these `scripts`, from 1, before the caller sees the reply.

    The reads, and the rounds of sweeps, whose number is not certain, are not counted.
    """

    def __init__(self, client: Client, server: LossyServer, *scripts: Script) -> None:
        super().__init__(client)
        self._scripts = scripts
        self.count = 0
        self.at = 0
        self.lost = 0
        self._server = server

    def run(self, script: Script, keys: Sequence[Any], args: Sequence[Any] = ()) -> Awaitable[Any]:
        reply = super().run(script, keys, args)
        return self._reply(reply) if script in self._scripts else reply

    async def _reply(self, reply: Awaitable[Any]) -> Any:
        result = await reply
        self.count += 1
        if self.count == self.at:
            self._server.crash(self.lost)
        return result
