"""One JSON line for a sample of requests, by their outcome; no personal data unless it is asked for.

The path is left out as well: who knows a cart's address may read the cart. The route's template stands for it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from gateway.http.message import Request, Response, StreamedResponse
from gateway.metrics import Metric, Sample

if TYPE_CHECKING:
    from gateway.http.endpoint import Endpoint

Outcome = Literal["ok", "refused", "client_error", "server_error"]
_FLUSH_S: Final = 0.2
# More than this is not kept for a reader that does not read: the log must not fill the memory of a worker.
_MOST_BYTES: Final = 4 * 1024 * 1024
# Ten tenths do not quite add up to one.
_WHOLE: Final = 1.0 - 1e-9
_REFUSED: Final = frozenset({429, 503})


class AccessLog:
    """Samples, formats and writes. Call it with every answer; `close` writes what is left.

    `shares` says how many of each outcome are logged, 0 to 1; every one that took `slow_s` or longer is. Samples are taken
    evenly, not by chance. `file` is appended to, `-` is standard output; it is written by a thread, in batches.
    """

    def __init__(
        self,
        shares: Mapping[Outcome, float],
        *,
        slow_s: float,
        file: str = "-",
        personal: Collection[str] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._shares = dict(shares)
        self._slow_s = slow_s
        self._personal = frozenset(personal)
        self._now = now
        self._credit: dict[Outcome, float] = dict.fromkeys(self._shares, 0.0)
        self._loop = asyncio.get_running_loop()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._flusher: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        # Raises OSError where the file cannot be written.
        self._file = (
            os.dup(sys.stdout.fileno()) if file == "-" else os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        )
        self.written = 0
        self.dropped = 0

    def __call__(self, endpoint: Endpoint, request: Request, response: Response, elapsed_s: float) -> None:
        """Note an answer, if it is one of the sample."""
        outcome = outcome_of(response.status)
        credit = self._credit[outcome] + self._shares[outcome]
        if credit < _WHOLE and elapsed_s < self._slow_s:
            self._credit[outcome] = credit
            return
        self._credit[outcome] = max(0.0, credit - 1.0)
        self._keep(self._line(endpoint, request, response, elapsed_s))

    def _line(self, endpoint: Endpoint, request: Request, response: Response, elapsed_s: float) -> bytes:
        fields: dict[str, Any] = {
            "time": self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "request_id": request.id,
            "method": request.method,
            "route": endpoint.path,
            "status": response.status,
            "duration_ms": round(elapsed_s * 1000, 3),
            "request_bytes": len(request.body),
            # Unknown where the answer comes in pieces without a length.
            "response_bytes": response.length if isinstance(response, StreamedResponse) else len(response.body),
            "process": os.getpid(),
        }
        if request.api_key is not None:
            fields["api_key"] = request.api_key
        if b"Degraded: " in request.extra_headers:
            fields["degraded"] = [
                line[10:].decode() for line in request.extra_headers.split(b"\r\n") if line.startswith(b"Degraded: ")
            ]
        fields |= {name: value for name, value in self._about(request) if name in self._personal and value}
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)

    def _about(self, request: Request) -> Iterable[tuple[str, str | None]]:
        yield "address", request.client
        yield "shopper", request.shopper
        yield "path", request.path
        yield "query", request.query
        yield "user_agent", request.headers.get("User-Agent")

    def _keep(self, line: bytes) -> None:
        if self._bytes + len(line) > _MOST_BYTES:
            self.dropped += 1
            return
        self._lines.append(line)
        self._bytes += len(line)
        if self._flusher is None:
            self._flusher = self._loop.call_later(_FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flusher = None
        if not self._lines:
            return
        if self._writing is not None:  # a slow reader: later
            self._flusher = self._loop.call_later(_FLUSH_S, self._flush)
            return
        batch, self._lines, self._bytes = self._lines, [], 0
        self._writing = self._loop.run_in_executor(None, _write_all, self._file, b"".join(batch))
        self._writing.add_done_callback(lambda done: self._on_written(done, len(batch)))

    def _on_written(self, done: asyncio.Future[None], lines: int) -> None:
        self._writing = None
        if done.cancelled() or done.exception() is not None:
            self.dropped += lines
        else:
            self.written += lines

    async def close(self) -> None:
        """Write what is left, and let go of the file."""
        if self._flusher is not None:
            self._flusher.cancel()
        while self._writing is not None or self._lines:
            if self._writing is None:
                self._flush()
            if self._writing is not None:
                await asyncio.wait([self._writing])
        os.close(self._file)

    def snapshot(self) -> Mapping[str, Any]:
        """Lines written and dropped."""
        return {"written": self.written, "dropped": self.dropped}

    def metrics(self) -> Iterable[Metric]:
        """The same as counters."""
        samples = [Sample({"outcome": "written"}, self.written), Sample({"outcome": "dropped"}, self.dropped)]
        yield Metric("peakgate_access_log_lines_total", "Lines of the access log.", "counter", samples)


def outcome_of(status: int) -> Outcome:
    """What kind of answer a status is."""
    if status < 400:
        return "ok"
    if status in _REFUSED:
        return "refused"
    return "client_error" if status < 500 else "server_error"


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
