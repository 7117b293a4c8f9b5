"""An upstream that misbehaves, in the way that the first part of the path names: `/hangs/…`, `/resets/…`, `/healthy/…`.

`python -m benchmarks.upstreams.failing PORT` serves it until it is told to stop. Only for tests and measurements on this machine.
"""

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Final, cast

import uvloop

BODY: Final = b'{"page": "' + b"x" * 100 + b'"}'
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
ENDLESS_BYTES: Final = 10 * 1024**3
DRIBBLE_S: Final = 0.1
# Behind the name of a way, for a route that is told apart by it.
EXPOSED: Final = "-exposed"
_CHUNK: Final = bytes(64 * 1024)


class BadUpstream(asyncio.Protocol):
    """One connection; each arrival is taken for one complete request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write."""
        self.transport = cast("asyncio.Transport", transport)
        self._timer: asyncio.TimerHandle | None = None
        self._pours = False
        self._may_write = True

    def connection_lost(self, _error: Exception | None) -> None:
        """Stop what goes on by itself."""
        self._pours = False
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Misbehave as the path says."""
        name = data.split(b"/", 2)[1].decode().removesuffix(EXPOSED)
        FAILURE_MODES[name](self)

    def pause_writing(self) -> None:
        """The reader is slower."""
        self._may_write = False

    def resume_writing(self) -> None:
        """The reader has caught up."""
        self._may_write = True
        self._pour()

    def answer(self) -> None:
        """As it should be."""
        self.transport.write(HEAD % len(BODY) + BODY)

    def hang(self) -> None:
        """Take the request, and never say anything."""

    def reset(self) -> None:
        """Drop the connection in the middle of things (RST)."""
        linger = struct.pack("ii", 1, 0)
        # A socket of the descriptor's, whose end must not close the transport's.
        with contextlib.closing(socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()

    def say_nothing(self) -> None:
        """Close without a word."""
        self.transport.close()

    def dribble_head(self) -> None:
        """A byte at a time, beginning with the head."""
        self._dribble(HEAD % len(BODY) + BODY)

    def dribble_body(self) -> None:
        """The head at once, then a byte at a time."""
        self.transport.write(HEAD % len(BODY))
        self._dribble(BODY)

    def garble(self) -> None:
        """What is no HTTP at all, but has the end of a head."""
        self.transport.write(os.urandom(2048) + b"\r\n\r\n")

    def pour(self) -> None:
        """10 GB, as fast as they are read."""
        self.transport.write(HEAD % ENDLESS_BYTES)
        self._pours = True
        self._pour()

    def stop_short(self) -> None:
        """A body that ends before the length that was told."""
        self.transport.write(HEAD % (10 * len(BODY)) + BODY)
        self.transport.close()

    def go_on(self) -> None:
        """A body that is longer than what was told."""
        self.transport.write(HEAD % 10 + BODY)

    def _dribble(self, rest: bytes) -> None:
        self.transport.write(rest[:1])
        if rest[1:]:
            self._timer = asyncio.get_running_loop().call_later(DRIBBLE_S, self._dribble, rest[1:])

    def _pour(self) -> None:
        if self._pours and self._may_write:
            self.transport.write(_CHUNK)
            # The others have their turn, however fast this one reads.
            self._timer = asyncio.get_running_loop().call_later(0, self._pour)


FAILURE_MODES: Final[Mapping[str, Callable[[BadUpstream], None]]] = {
    "healthy": BadUpstream.answer,
    "hangs": BadUpstream.hang,
    "resets": BadUpstream.reset,
    "says-nothing": BadUpstream.say_nothing,
    "dribbles-its-head": BadUpstream.dribble_head,
    "dribbles-its-body": BadUpstream.dribble_body,
    "sends-garbage": BadUpstream.garble,
    "pours": BadUpstream.pour,
    "body-too-short": BadUpstream.stop_short,
    "body-too-long": BadUpstream.go_on,
}


async def serve(port: int) -> None:
    """Serve on 127.0.0.1."""
    server = await asyncio.get_running_loop().create_server(BadUpstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
