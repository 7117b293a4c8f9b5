"""The floor: an asyncio protocol on uvloop that writes the same bytes for each chunk and parses nothing.

Its cost is the kernel's share of a request, which every Python server pays. `python -m benchmarks.peers.bare_protocol PORT`
serves until SIGTERM.
"""

import asyncio
import sys
from typing import cast

import uvloop

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Bare(asyncio.Protocol):
    """Takes each chunk for one complete request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, _data: bytes) -> None:
        """Write the response."""
        self._transport.write(_ANSWER)


async def serve(port: int) -> None:
    """Serve on 127.0.0.1."""
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
