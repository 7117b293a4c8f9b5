"""An open-loop load generator: requests arrive at random (Poisson), whether or not earlier ones have a response.

`python -m benchmarks.load.open_loop` reads a JSON value from each line of its input, generates that load, and prints a line of JSON for it.
It is a process of its own so that the benchmark can observe the gateway meanwhile, and uses plain `epoll` because it has to
offer three times the capacity of a worker from the core that it shares with the store: about 10 µs for each request.

Each connection has one request in flight. When all are in use, requests wait here; the latency of a response counts from
the moment at which its request was due. Requests that have waited too long are dropped, as shoppers leave.
"""

from __future__ import annotations

import contextlib
import gc
import random
import select
import socket
import sys
import time
from array import array
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, Self

import msgspec

from benchmarks.replay.latency import percentile

# A shopper leaves after this wait.
PATIENCE_S: Final = 2.0
BIN_S: Final = 0.25
_SENT_AT_ONCE: Final = 64
_GAPS: Final = 1 << 16
_DRAIN_S: Final = 3.0
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"Content-Length: "
_LENGTH_IN_LOWER_CASE: Final = _LENGTH.lower()


class Kind(msgspec.Struct, frozen=True):
    """One kind of request of a mix: `weight` of 100, sent in turn. Requests with `once` are not sent again after they were accepted."""

    name: str
    weight: float
    requests: list[bytes]
    once: bool = False


class Load(msgspec.Struct, frozen=True):
    """`rate` requests a second for `seconds`, with Poisson arrivals."""

    rate: float
    seconds: float
    # Only this kind, where it is named.
    only: str | None = None


class Setup(msgspec.Struct, frozen=True):
    """The first line of input: the port, the number of connections, and the mix."""

    port: int
    connections: int
    kinds: list[Kind]


class KindStats(msgspec.Struct):
    """Responses to the requests of one kind: 2xx, rejected (429, 503), others."""

    accepted: int = 0
    rejected: int = 0
    other: int = 0


class LoadStats(msgspec.Struct):
    """The results of one load. `lost` requests were dropped before they were sent, or have no response. Latencies are of accepted ones."""

    offered: int
    seconds: float
    kinds: dict[str, KindStats]
    lost: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    # When the last rejected request was due, since the load began; and the 99th percentile of each quarter of a second.
    last_rejected_s: float
    p99_ms_by_bin: list[float]
    # The longest delay of the generator itself; a long one means that it is too slow for this rate.
    late_ms: float

    @property
    def accepted(self) -> int:
        """Of all kinds."""
        return sum(kind.accepted for kind in self.kinds.values())

    @property
    def rejected(self) -> int:
        """Of all kinds."""
        return sum(kind.rejected for kind in self.kinds.values())


class Generator:
    """Generates one load after the other over the same connections."""

    def __init__(self, setup: Setup, *, seed: int = 1) -> None:
        self._setup = setup
        self._chance = random.Random(seed)
        self._gaps = [self._chance.expovariate(1.0) for _ in range(_GAPS)]
        self._requests = [deque(kind.requests) for kind in setup.kinds]
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._free: list[int] = []
        # Of each connection in use: the kind of its request, when it was due, the request.
        self._doing: dict[int, tuple[int, float, bytes]] = {}
        self._partial: dict[int, bytes] = {}
        for _ in range(setup.connections):
            self._connect()

    def _connect(self) -> None:
        sock = socket.create_connection(("127.0.0.1", self._setup.port), timeout=10)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[sock.fileno()] = sock
        self._free.append(sock.fileno())
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        self._epoll.close()
        for sock in self._sockets.values():
            sock.close()

    def play(self, load: Load) -> LoadStats:
        """Generate one load, and wait a little for the last responses."""
        seen = _Notes(self._setup.kinds)
        turns = self._turns(load.only)
        waiting: deque[tuple[float, int]] = deque()
        began = time.perf_counter()
        due, end, turn, late_s = began, began + load.seconds, 0, 0.0
        while True:
            now = time.perf_counter()
            late_s = max(late_s, now - due)
            while due <= now and due < end:
                waiting.append((due, turns[turn % _GAPS]))
                due += self._gaps[turn % _GAPS] / load.rate
                turn += 1
            self._send(waiting, now, seen)
            if due >= end and not waiting and not self._doing:
                break
            if now > end + _DRAIN_S:
                self._give_up(waiting, seen)
                break
            wait_s = 0.0 if waiting and self._free else max(min(due, end) - now, 0.0) if due < end else 0.05
            # Rounded up to a millisecond by the kernel, which would be too late at high rates.
            for ready, _ in self._epoll.poll(wait_s if wait_s > 0.001 else 0, 256):
                self._receive(ready, seen)
        return seen.summary(began, turn, load.seconds, late_s)

    def _turns(self, only: str | None) -> Sequence[int]:
        kinds = self._setup.kinds
        if only is not None:
            return [next(number for number, kind in enumerate(kinds) if kind.name == only)] * _GAPS
        bounds = list(accumulate(kind.weight for kind in kinds))
        return self._chance.choices(range(len(kinds)), cum_weights=bounds, k=_GAPS)

    def _send(self, waiting: deque[tuple[float, int]], now: float, seen: _Notes) -> None:
        free = self._free
        while waiting and waiting[0][0] < now - PATIENCE_S:
            waiting.popleft()
            seen.lost += 1
        for _ in range(min(len(waiting), len(free), _SENT_AT_ONCE)):
            due, kind = waiting.popleft()
            requests = self._requests[kind]
            if not requests:
                raise SystemExit(f"the prepared requests of {self._setup.kinds[kind].name} are used up")
            request = requests.popleft()
            if not self._setup.kinds[kind].once:
                requests.append(request)
            # Last in, first out: the buffers of the others stay out of the caches.
            number = free.pop()
            self._doing[number] = (kind, due, request)
            # A connection that the server has closed is replaced when it is read.
            with contextlib.suppress(ConnectionError):
                self._sockets[number].send(request)

    def _receive(self, number: int, seen: _Notes) -> None:
        try:
            data = self._sockets[number].recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._reconnect(number, seen)
            return
        if number not in self._doing:
            # The rest of a refusal without a length.
            return
        if self._partial:
            data = self._partial.pop(number, b"") + data
        head_end = data.find(_HEAD_END)
        at = data.find(_LENGTH)
        if at < 0:
            # Field names have no case; HAProxy writes them in lower case.
            at = data.find(_LENGTH_IN_LOWER_CASE)
        # A balancer's own refusal has no length and ends with the connection, which is replaced then.
        length = int(data[at + 16 : data.index(b"\r", at)]) if 0 <= at < head_end else 0
        if head_end < 0 or len(data) < head_end + 4 + length:
            self._partial[number] = data
            return
        kind, due, request = self._doing.pop(number)
        self._free.append(number)
        status = int(data[9:12])
        seen.note(kind, status, due, time.perf_counter())
        if self._setup.kinds[kind].once and status in {429, 503}:
            # A rejected checkout is tried again with the same cart and the same key.
            self._requests[kind].append(request)

    def _reconnect(self, number: int, seen: _Notes) -> None:
        if self._doing.pop(number, None) is not None:
            seen.lost += 1
        else:
            self._free.remove(number)
        self._partial.pop(number, None)
        self._epoll.unregister(number)
        self._sockets.pop(number).close()
        self._connect()

    def _give_up(self, waiting: deque[tuple[float, int]], seen: _Notes) -> None:
        """Drop the requests that wait, and replace the connections that have no response yet."""
        seen.lost += len(waiting)
        for number in [*self._doing]:
            self._reconnect(number, seen)


class _Notes:
    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.lost = 0
        self._names = [kind.name for kind in kinds]
        self._kinds = array("b")
        self._statuses = array("h")
        self._due = array("d")
        self._took_s = array("d")

    def note(self, kind: int, status: int, due: float, now: float) -> None:
        self._kinds.append(kind)
        self._statuses.append(status)
        self._due.append(due)
        self._took_s.append(now - due)

    def summary(self, began: float, offered: int, seconds: float, late_s: float) -> LoadStats:
        kinds = {name: KindStats() for name in self._names}
        took: list[float] = []
        bins: list[list[float]] = [[] for _ in range(int(seconds / BIN_S) + 1)]
        last_rejected_s = 0.0
        for kind, status, due, took_s in zip(self._kinds, self._statuses, self._due, self._took_s, strict=True):
            counts = kinds[self._names[kind]]
            if 200 <= status < 300:
                counts.accepted += 1
                took.append(took_s)
                bins[min(int((due - began) / BIN_S), len(bins) - 1)].append(took_s)
            elif status in {429, 503}:
                counts.rejected += 1
                last_rejected_s = max(last_rejected_s, due - began)
            else:
                counts.other += 1
        took.sort()
        p50, p99 = (percentile(took, share) * 1e3 if took else 0.0 for share in (0.5, 0.99))
        by_bin = [percentile(sorted(each), 0.99) * 1e3 if each else 0.0 for each in bins]
        most = took[-1] * 1e3 if took else 0.0
        return LoadStats(offered, seconds, kinds, self.lost, p50, p99, most, last_rejected_s, by_bin, late_s * 1e3)


def main() -> int:
    """Generate the loads that standard input describes."""
    gc.disable()
    lines = iter(sys.stdin.buffer)
    with Generator(msgspec.json.decode(next(lines), type=Setup)) as generator:
        for line in lines:
            seen = generator.play(msgspec.json.decode(line, type=Load))
            sys.stdout.buffer.write(msgspec.json.encode(seen) + b"\n")
            sys.stdout.buffer.flush()
            gc.collect()
    return 0


if __name__ == "__main__":
    sys.exit(main())
