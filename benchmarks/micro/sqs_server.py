"""A server that answers batches of SQS without storing them, with as little CPU time as Python allows.

`python -m benchmarks.micro.sqs_server PORT` serves until SIGTERM.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final, cast

import orjson
import uvloop

_SUCCESSES: Final = [
    {"Id": str(number), "MessageId": f"00000000-0000-4000-8000-00000000000{number}", "MD5OfMessageBody": "0" * 32}
    for number in range(10)
]
_BODY: Final = orjson.dumps({"Successful": _SUCCESSES})
_RESPONSE: Final = (
    b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: 00000000-0000-4000-8000-000000000000\r\nDate: Fri, 27 Nov 2026 06:00:00 GMT\r\n"
    b"Content-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\nconnection: keep-alive\r\n\r\n%b"
) % (len(_BODY), _BODY)


class BatchServer(asyncio.Protocol):
    """Answers each POST request as if all ten messages of its batch had been sent."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin without data."""
        self._transport = cast("asyncio.Transport", transport)
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Answer once the body is complete; clients do not pipeline."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if separator and len(body) >= int(length or 0):
            self._received = b""
            self._transport.write(_RESPONSE)


async def serve(port: int) -> None:
    """Serve on 127.0.0.1."""
    server = await asyncio.get_running_loop().create_server(BatchServer, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
