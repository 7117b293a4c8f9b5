"""An upstream that fails in the mode that the first segment of the path names: `/hangs/…`, `/resets/…`, `/healthy/…`.

`python -m benchmarks.upstreams.failing PORT` serves until SIGTERM.
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
# Suffix of a mode, for a second route with the same failure.
EXPOSED: Final = "-exposed"
_CHUNK: Final = bytes(64 * 1024)


class FailingUpstream(asyncio.Protocol):
    """One connection; each chunk is taken for one complete request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self._timer: asyncio.TimerHandle | None = None
        self._pours = False
        self._may_write = True

    def connection_lost(self, _error: Exception | None) -> None:
        """Stop writing."""
        self._pours = False
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Fail in the mode of the path."""
        name = data.split(b"/", 2)[1].decode().removesuffix(EXPOSED)
        FAILURE_MODES[name](self)

    def pause_writing(self) -> None:
        """Stop pouring: the reader is slower."""
        self._may_write = False

    def resume_writing(self) -> None:
        """Continue: the reader has caught up."""
        self._may_write = True
        self._pour()

    def respond(self) -> None:
        """Write a healthy response."""
        self.transport.write(HEAD % len(BODY) + BODY)

    def hang(self) -> None:
        """Never respond."""

    def reset(self) -> None:
        """Reset the connection (RST)."""
        linger = struct.pack("ii", 1, 0)
        # A socket of a duplicated descriptor: closing it does not close the transport's.
        with contextlib.closing(socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()

    def say_nothing(self) -> None:
        """Close without a response."""
        self.transport.close()

    def dribble_head(self) -> None:
        """Write a byte at a time, beginning with the head."""
        self._dribble(HEAD % len(BODY) + BODY)

    def dribble_body(self) -> None:
        """The head at once, then a byte at a time."""
        self.transport.write(HEAD % len(BODY))
        self._dribble(BODY)

    def garble(self) -> None:
        """Write random bytes that end like a head."""
        self.transport.write(os.urandom(2048) + b"\r\n\r\n")

    def pour(self) -> None:
        """Write 10 GB, as fast as they are read."""
        self.transport.write(HEAD % ENDLESS_BYTES)
        self._pours = True
        self._pour()

    def stop_short(self) -> None:
        """Write a body that is shorter than its Content-Length."""
        self.transport.write(HEAD % (10 * len(BODY)) + BODY)
        self.transport.close()

    def go_on(self) -> None:
        """Write a body that is longer than its Content-Length."""
        self.transport.write(HEAD % 10 + BODY)

    def _dribble(self, rest: bytes) -> None:
        self.transport.write(rest[:1])
        if rest[1:]:
            self._timer = asyncio.get_running_loop().call_later(DRIBBLE_S, self._dribble, rest[1:])

    def _pour(self) -> None:
        if self._pours and self._may_write:
            self.transport.write(_CHUNK)
            # Other connections have their turn between two chunks.
            self._timer = asyncio.get_running_loop().call_later(0, self._pour)


FAILURE_MODES: Final[Mapping[str, Callable[[FailingUpstream], None]]] = {
    "healthy": FailingUpstream.respond,
    "hangs": FailingUpstream.hang,
    "resets": FailingUpstream.reset,
    "says-nothing": FailingUpstream.say_nothing,
    "dribbles-its-head": FailingUpstream.dribble_head,
    "dribbles-its-body": FailingUpstream.dribble_body,
    "sends-garbage": FailingUpstream.garble,
    "pours": FailingUpstream.pour,
    "body-too-short": FailingUpstream.stop_short,
    "body-too-long": FailingUpstream.go_on,
}


async def serve(port: int) -> None:
    """Serve on 127.0.0.1."""
    server = await asyncio.get_running_loop().create_server(FailingUpstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
