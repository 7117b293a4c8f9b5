"""The floor: an asyncio protocol on uvloop that answers whatever arrives with the same bytes, and parses nothing.

What it costs is the kernel's share of a request, which no server in this language can save. `python -m
benchmarks.peers.bare_protocol PORT` serves it until it is told to stop.
"""

import asyncio
import sys
from typing import cast

import uvloop

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Bare(asyncio.Protocol):
    """Answers each arrival, taking it for one complete request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, _data: bytes) -> None:
        """Answer without looking."""
        self._transport.write(_ANSWER)


async def serve(port: int) -> None:
    """Serve on 127.0.0.1."""
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
