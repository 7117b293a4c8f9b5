"""A queue with the protocol of SQS that takes batches and remembers the orders in them.

`python -m benchmarks.upstreams.sqs_recorder PORT` serves until SIGTERM. `GET /` is how many messages and orders it has received.
"""

import asyncio
import sys
from typing import Any, Final, cast

import orjson
import uvloop

_TYPE: Final = b"application/x-amz-json-1.0"


class Recorder:
    """The messages so far."""

    def __init__(self) -> None:
        self.messages = 0
        self.orders: set[str] = set()

    def answer(self, head: bytes, body: bytes) -> bytes:
        """The JSON of the response to a request."""
        if head.startswith(b"GET "):
            return orjson.dumps({"messages": self.messages, "orders": len(self.orders)})
        request: dict[str, Any] = orjson.loads(body)
        if b"sendmessagebatch" not in head.lower():
            return orjson.dumps({"Attributes": {}})
        entries = request["Entries"]
        self.messages += len(entries)
        self.orders.update(orjson.loads(entry["MessageBody"])["subject"] for entry in entries)
        sent = [{"Id": entry["Id"], "MessageId": entry["Id"], "MD5OfMessageBody": "0" * 32} for entry in entries]
        return orjson.dumps({"Successful": sent})


class _Connection(asyncio.Protocol):
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if not separator or len(body) < length:
            return
        self._received = b""
        response = self._recorder.answer(head, body)
        fields = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (_TYPE, len(response))
        self._transport.write(fields + response)


async def serve(port: int) -> None:
    """Serve on 127.0.0.1."""
    recorder = Recorder()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(recorder), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
