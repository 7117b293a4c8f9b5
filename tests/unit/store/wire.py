"""A fake connection to a store: the test reads the client's commands and sends the replies."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import hiredis
import pytest

from store import Client, StoreUnavailable, handshake

Command = list[Any]


class Wire(asyncio.Transport):
    """One connection, seen from the server's side."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.aborted = False
        self.protocol = asyncio.Protocol()
        self._commands = hiredis.Reader(notEnoughData=_INCOMPLETE)

    # What the client does with it

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.aborted
        self.writes.append(bytes(data))
        self._commands.feed(bytes(data))

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = cast(asyncio.Protocol, protocol)

    # What the test does with it

    def commands(self) -> list[Command]:
        """The commands that have come since this was asked last."""
        found: list[Command] = []
        while (command := self._commands.gets()) is not _INCOMPLETE:
            found.append(command)
        return found

    def reply(self, data: bytes) -> None:
        """Send bytes to the client."""
        self.protocol.data_received(data)

    def hang_up(self) -> None:
        """Lose the connection."""
        self.protocol.connection_lost(ConnectionResetError("reset by peer"))


class Dial:
    """Stands in for the handshake: each connection is a new `Wire`, or none while `refusing`."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.attempts: list[float] = []
        self.refusing = False

    async def open_stream(self, _url: str, _timeout_s: float) -> asyncio.StreamWriter:
        """As `store.handshake.open_stream`."""
        self.attempts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        if self.refusing:
            raise StoreUnavailable("cannot connect to the store: refused")
        self.wires.append(Wire())
        return cast(asyncio.StreamWriter, _Stream(self.wires[-1]))

    @property
    def wire(self) -> Wire:
        """The connection that was opened last."""
        return self.wires[-1]

    async def client(self, **options: Any) -> Client:
        """A connected client."""
        client = Client("redis://fake", **options)
        await client.connect()
        return client


class _Stream:
    def __init__(self, transport: Wire) -> None:
        self.transport = transport


@pytest.fixture
def dial(monkeypatch: pytest.MonkeyPatch) -> Dial:
    """Where the clients of a test connect to."""
    found = Dial()
    monkeypatch.setattr(handshake, "open_stream", found.open_stream)
    return found


async def tick() -> None:
    """Let everything run that is ready."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


_INCOMPLETE: object = object()
