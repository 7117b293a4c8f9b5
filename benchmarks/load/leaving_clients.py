"""Shoppers of the route beside the one that is measured: a fixed number each second, whatever becomes of those before.

`python -m benchmarks.load.leaving_clients PORT PATH RATE SECONDS PATIENCE_S [BYTES_PER_S]` prints how many got which status.
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

# Those who were answered nothing before they gave up or were dropped.
NONE: Final = "none"
_SLOW_WINDOW: Final = 32 * 1024


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How they come: `rate` a second for `seconds`, each on a connection of his own, for `patience_s` at most.

    They read at `bytes_per_s`, without it as fast as it comes.
    """

    rate: float
    seconds: float
    patience_s: float
    bytes_per_s: float | None = None


class Neighbour(asyncio.Protocol):
    """One of them; `seen` counts the status that he got, and he is among those `there` as long as he is connected."""

    def __init__(self, request: bytes, behaviour: Behaviour, seen: Counter[str], there: "set[Neighbour]") -> None:
        self.is_slow = behaviour.bytes_per_s is not None
        self._request = request
        self._habits = behaviour
        self._seen = seen
        self._there = there
        self._status = NONE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask, and wait as long as he cares to."""
        self._transport = cast("asyncio.Transport", transport)
        self._there.add(self)
        self._loop = asyncio.get_running_loop()
        self._giving_up = self._loop.call_later(self._habits.patience_s, self._transport.abort)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note the status, and read at his pace."""
        if self._status == NONE:
            self._status = data[9:12].decode(errors="replace")
        if self._habits.bytes_per_s is not None:
            self._transport.pause_reading()
            self._loop.call_later(len(data) / self._habits.bytes_per_s, self._go_on)

    def connection_lost(self, _error: Exception | None) -> None:
        """It is over."""
        self._giving_up.cancel()
        self._there.discard(self)
        self._seen[self._status] += 1

    def leave(self) -> None:
        """Go, whatever is still to come."""
        self._transport.abort()

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()


async def come(port: int, path: str, behaviour: Behaviour) -> Counter[str]:
    """Have them come; how many got which status. Who is still waiting when the time is over leaves."""
    loop = asyncio.get_running_loop()
    there: set[Neighbour] = set()
    request = f"GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n".encode()
    seen: Counter[str] = Counter()
    connecting: set[asyncio.Task[None]] = set()
    began = loop.time()
    for number in range(round(behaviour.rate * behaviour.seconds)):
        await asyncio.sleep(max(0.0, began + number / behaviour.rate - loop.time()))
        connection = loop.create_task(_one(port, Neighbour(request, behaviour, seen, there)))
        connecting.add(connection)
        connection.add_done_callback(connecting.discard)
    await asyncio.sleep(max(0.0, began + behaviour.seconds - loop.time()))
    for each in connecting:
        each.cancel()
    for neighbour in there:
        neighbour.leave()
    # Cancelled and aborted ones end in the loop's next turn.
    await asyncio.sleep(0)
    return seen


async def _one(port: int, neighbour: Neighbour) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as unless_connected:
        own = unless_connected.enter_context(socket.socket())
        own.setblocking(False)
        if neighbour.is_slow:
            # Slow readers are far away: the kernel must not take megabytes on their behalf.
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_WINDOW)
        await loop.sock_connect(own, ("127.0.0.1", port))
        await loop.create_connection(lambda: neighbour, sock=own)
        unless_connected.pop_all()


def main() -> None:
    """Come as the arguments say."""
    port, path, *numbers = sys.argv[1:]
    seen = uvloop.run(come(int(port), path, Behaviour(*map(float, numbers))))
    sys.stdout.buffer.write(orjson.dumps(seen) + b"\n")


if __name__ == "__main__":
    main()
