"""A few commands on a connection of their own, which is closed afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis

from store import handshake
from store.errors import StoreUnavailable
from store.resp import INCOMPLETE, Arg, encode_command, new_reader


async def exchange(
    url: str, commands: Sequence[Sequence[Arg]], *, timeout_s: float, takes_replica: bool = False
) -> Sequence[Any]:
    """Send the commands in one write; returns a reply for each in order, `ReplyError`s among them.

    A pushed message counts as the reply to its command, such as SSUBSCRIBE. Raises `StoreUnavailable`.
    """
    stream = await handshake.open_stream(url, timeout_s, takes_replica=takes_replica)
    replies = _Replies(len(commands))
    stream.transport.set_protocol(replies)
    stream.transport.write(b"".join(encode_command(command) for command in commands))
    try:
        async with asyncio.timeout(timeout_s):
            return await replies.complete
    except TimeoutError as error:
        raise StoreUnavailable("no reply from the store in time") from error
    finally:
        stream.transport.set_protocol(asyncio.Protocol())
        stream.transport.abort()


class _Replies(asyncio.Protocol):
    """Collects so many replies."""

    def __init__(self, wanted: int) -> None:
        self.complete: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._wanted = wanted
        self._found: list[Any] = []
        self._reader = new_reader()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not INCOMPLETE:
                self._found.append(reply)
        except hiredis.ProtocolError as error:
            self._fail(f"the store sent what is no reply: {error}")
        if len(self._found) >= self._wanted and not self.complete.done():
            self.complete.set_result(self._found)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection to the store was lost{f': {exc}' if exc else ''}")

    def _fail(self, why: str) -> None:
        if not self.complete.done():
            self.complete.set_exception(StoreUnavailable(why))
