"""An upstream that answers whatever arrives with the same small answer, as cheaply as this language can.

`python -m benchmarks.upstreams.canned PORT` serves it until it is told to stop.
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
    """Answers each arrival, taking it for one complete request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, _data: bytes) -> None:
        """Answer without looking."""
        self._transport.write(_ANSWER)


async def serve(port: int) -> None:
    """Serve on 127.0.0.1."""
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
