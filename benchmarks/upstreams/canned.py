"""An upstream that writes the same small response for each chunk, with as little CPU time as Python allows.

`python -m benchmarks.upstreams.canned PORT` serves until SIGTERM.
"""

import asyncio
import sys
from email.utils import formatdate
from typing import cast

import uvloop

# Fresh for a day from the start, also for requests with `Authorization` (RFC 9111, 3.5), so that caching it can be measured.
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: %b\r\nContent-Type: application/json\r\n"
    b'Content-Length: 120\r\nConnection: keep-alive\r\nETag: "abcdef123456"\r\nCache-Control: public, max-age=86400\r\n'
    b"Vary: Accept-Encoding\r\n\r\n%b"
) % (formatdate(usegmt=True).encode(), b"x" * 120)


class Canned(asyncio.Protocol):
    """Takes each chunk for one complete request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, _data: bytes) -> None:
        """Write the response."""
        self._transport.write(_ANSWER)


async def serve(port: int) -> None:
    """Serve on 127.0.0.1."""
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
