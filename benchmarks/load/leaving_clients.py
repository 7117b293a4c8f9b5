"""A load generator of clients that arrive at a constant rate and leave when they have waited too long.

`python -m benchmarks.load.leaving_clients PORT PATH RATE SECONDS PATIENCE_S [BYTES_PER_S]` prints the number of clients by status.
"""

import asyncio
import contextlib
import socket
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Final, cast

import orjson
import uvloop

# The status of clients that left or were disconnected before a response began.
NONE: Final = "none"
_SLOW_WINDOW: Final = 32 * 1024


@dataclass(frozen=True, slots=True)
class Behaviour:
    """`rate` clients a second arrive for `seconds`, each on its own connection, and leave after `patience_s` at most.

    They read at `bytes_per_s`, or as fast as possible without it.
    """

    rate: float
    seconds: float
    patience_s: float
    bytes_per_s: float | None = None


class LeavingClient(asyncio.Protocol):
    """One client. `seen` counts its status; it is in `there` as long as it is connected."""

    def __init__(self, request: bytes, behaviour: Behaviour, seen: Counter[str], there: "set[LeavingClient]") -> None:
        self.is_slow = behaviour.bytes_per_s is not None
        self._request = request
        self._behaviour = behaviour
        self._seen = seen
        self._there = there
        self._status = NONE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request and start the timer for leaving."""
        self._transport = cast("asyncio.Transport", transport)
        self._there.add(self)
        self._loop = asyncio.get_running_loop()
        self._giving_up = self._loop.call_later(self._behaviour.patience_s, self._transport.abort)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Record the status, and read at the client's rate."""
        if self._status == NONE:
            self._status = data[9:12].decode(errors="replace")
        if self._behaviour.bytes_per_s is not None:
            self._transport.pause_reading()
            self._loop.call_later(len(data) / self._behaviour.bytes_per_s, self._go_on)

    def connection_lost(self, _error: Exception | None) -> None:
        """Count the status."""
        self._giving_up.cancel()
        self._there.discard(self)
        self._seen[self._status] += 1

    def leave(self) -> None:
        """Disconnect."""
        self._transport.abort()

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()


async def run_clients(port: int, path: str, behaviour: Behaviour) -> Counter[str]:
    """Run the clients; returns their number by status. Clients that still wait at the end are disconnected."""
    loop = asyncio.get_running_loop()
    there: set[LeavingClient] = set()
    request = f"GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n".encode()
    seen: Counter[str] = Counter()
    connecting: set[asyncio.Task[None]] = set()
    began = loop.time()
    for number in range(round(behaviour.rate * behaviour.seconds)):
        await asyncio.sleep(max(0.0, began + number / behaviour.rate - loop.time()))
        connection = loop.create_task(_one(port, LeavingClient(request, behaviour, seen, there)))
        connecting.add(connection)
        connection.add_done_callback(connecting.discard)
    await asyncio.sleep(max(0.0, began + behaviour.seconds - loop.time()))
    for each in connecting:
        each.cancel()
    for client in there:
        client.leave()
    # Cancelled and aborted ones end in the loop's next turn.
    await asyncio.sleep(0)
    return seen


async def _one(port: int, client: LeavingClient) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as unless_connected:
        own = unless_connected.enter_context(socket.socket())
        own.setblocking(False)
        if client.is_slow:
            # A slow reader has a small receive window: the kernel must not buffer megabytes for it.
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_WINDOW)
        await loop.sock_connect(own, ("127.0.0.1", port))
        await loop.create_connection(lambda: client, sock=own)
        unless_connected.pop_all()


def main() -> None:
    """Run the clients that the arguments describe."""
    port, path, *numbers = sys.argv[1:]
    seen = uvloop.run(run_clients(int(port), path, Behaviour(*map(float, numbers))))
    sys.stdout.buffer.write(orjson.dumps(seen) + b"\n")


if __name__ == "__main__":
    main()
