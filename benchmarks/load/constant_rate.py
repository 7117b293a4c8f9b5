"""A load generator with a constant rate: requests are sent when they are due, also while earlier ones have no response."""

import asyncio
import contextlib
import gc
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, cast

_TICK_S: Final = 0.001
# The wait for the last responses.
_LAST_S: Final = 1.0
_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\nContent-Length: "


@dataclass(slots=True)
class RunStats:
    """The latency of each response, and the number of responses with another status than wanted, or missing."""

    took_s: list[float] = field(default_factory=list)
    wrong: int = 0

    def percentile_ms(self, percent: float) -> float:
        """The nearest-rank percentile in milliseconds. Raises `ValueError` when there were no responses."""
        if not self.took_s:
            raise ValueError("there were no responses")
        ranked = sorted(self.took_s)
        return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)] * 1e3


class _Due:
    """Requests that are due, and idle connections."""

    def __init__(self, status: bytes) -> None:
        self.status_line = b"HTTP/1.1 %b " % status
        self.waiting: deque[tuple[bytes, float]] = deque()
        self.idle: list[_Connection] = []
        self.seen = RunStats()
        self._all_idle = asyncio.Event()
        self._all_idle_at: int | None = None

    async def done(self, connections: int) -> None:
        """Wait until all connections are idle."""
        self._all_idle_at = connections
        if len(self.idle) < connections:
            await self._all_idle.wait()

    def free(self, connection: "_Connection") -> None:
        """Send the next request that is due on this connection, or mark it as idle."""
        if self.waiting:
            connection.send(*self.waiting.popleft())
            return
        self.idle.append(connection)
        if len(self.idle) == self._all_idle_at:
            self._all_idle.set()

    def add(self, request: bytes) -> None:
        """Send it as soon as a connection is free; its latency counts from now."""
        if self.idle:
            self.idle.pop().send(request, perf_counter())
        else:
            self.waiting.append((request, perf_counter()))


class _Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self, due: _Due) -> None:
        self._due = due
        self._arrived = b""
        self._began: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._due.free(self)

    def send(self, request: bytes, began: float) -> None:
        """Send a request that was due at `began`."""
        self._began = began
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._arrived = data if not self._arrived else self._arrived + data
        if self._began is None or not _is_complete(self._arrived):
            return
        due = self._due
        due.seen.took_s.append(perf_counter() - self._began)
        due.seen.wrong += not self._arrived.startswith(due.status_line)
        self._arrived, self._began = b"", None
        due.free(self)

    def connection_lost(self, _error: Exception | None) -> None:
        if self in self._due.idle:
            self._due.idle.remove(self)
        self._due.seen.wrong += self._began is not None

    def close(self) -> None:
        """Close it; a request without a response counts as wrong."""
        self._transport.abort()


def _is_complete(response: bytes) -> bool:
    """Whether the response is complete. All responses to these requests have a Content-Length."""
    end = response.find(_END)
    if end < 0:
        return False
    at = response.index(_LENGTH, 0, end + 2) + len(_LENGTH)
    return len(response) >= end + len(_END) + int(response[at : response.index(b"\r", at)])


async def constant_rate(
    port: int, requests: Sequence[bytes], *, rate: float, seconds: float, connections: int = 32, status: bytes = b"200"
) -> RunStats:
    """Send the requests in turn, `rate` a second, over so many connections to a server on this machine; `status` is the wanted one.

    The latency of a request includes its wait for a free connection, so that a slow server does not slow the load down
    unnoticed (coordinated omission).
    """
    loop = asyncio.get_running_loop()
    due = _Due(status)
    made = [await loop.create_connection(lambda: _Connection(due), "127.0.0.1", port) for _ in range(connections)]
    gc.disable()
    try:
        began, sent = loop.time(), 0
        while (elapsed_s := loop.time() - began) < seconds:
            for number in range(sent, int(elapsed_s * rate)):
                due.add(requests[number % len(requests)])
            sent = int(elapsed_s * rate)
            await asyncio.sleep(_TICK_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(due.done(connections), _LAST_S)
    finally:
        gc.enable()
        for _, connection in made:
            connection.close()
    await asyncio.sleep(0)
    due.seen.wrong += len(due.waiting)
    return due.seen
