"""The access log: one JSON line for a sample of requests, by outcome, without personal data unless configured.

The path is left out as well, because the id of a cart is a secret; the path template of the route takes its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from gateway.http.log_text import log_text
from gateway.http.message import PROBLEM_JSON, Request, Response, StreamedResponse
from gateway.metrics import Metric, Sample
from gateway.pipeline.log_writer import ATOMIC_BYTES, LogWriter
from gateway.server.request_id import OWN_ID_LENGTH

if TYPE_CHECKING:
    from gateway.http.endpoint import Endpoint

Outcome = Literal["ok", "rejected", "client_error", "server_error"]
# Ten tenths add up to slightly less than one.
_ONE: Final = 1.0 - 1e-9
_OWN_PROBLEM: Final = b'{"type":"/problems/'
_TYPE_START: Final = len(b'{"type":"')
_OWN_CACHE: Final = b"peakgate; "
# Longer texts of a line that is too long are cut off here; longer ones than the second are not cached.
_SHORT_TEXT: Final = 200
_CACHED_TEXT: Final = 300
_cached_text: Final = lru_cache(maxsize=512)(log_text)
_REJECTED: Final = frozenset({429, 503})


class _Sample:
    """The logged share of an outcome, and the part of a line that its responses since the last one add up to."""

    __slots__ = ("credit", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.credit = 0.0


class AccessLog:
    """Samples, formats and writes. Call it for every response; `close` writes the rest.

    `sample_rates` are the logged shares of each outcome, 0 to 1; every response that took `slow_s` or longer is logged. Samples
    are taken evenly, not by chance. `file` is appended to; `-` is standard output.
    """

    def __init__(
        self,
        sample_rates: Mapping[Outcome, float],
        *,
        slow_s: float,
        file: str = "-",
        personal_fields: Collection[str] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._samples = {outcome: _Sample(rate) for outcome, rate in sample_rates.items()}
        self._slow_s = slow_s
        self._personal_names = frozenset(personal_fields)
        self._now = now
        self._process = os.getpid()
        self._writer = LogWriter(file)

    def __call__(self, endpoint: Endpoint, request: Request, response: Response, elapsed_s: float) -> None:
        """Log a response if it is in the sample."""
        sample = self._samples[outcome_of(response.status)]
        credit = sample.credit + sample.rate
        if credit < _ONE and elapsed_s < self._slow_s:
            sample.credit = credit
            return
        sample.credit = max(0.0, credit - 1.0)
        self._writer.write(self._line(endpoint, request, response, elapsed_s))

    def _line(self, endpoint: Endpoint, request: Request, response: Response, elapsed_s: float) -> bytes:
        fields: dict[str, Any] = {
            "time": self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "request_id": _id_text(request.id),
            "method": log_text(request.method),
            "route": endpoint.path,
            "status": response.status,
            # Whole microseconds: `round` would format the number and read it again.
            "duration_ms": int(elapsed_s * 1e6) / 1000,
            "request_bytes": len(request.body),
            # None for a streamed response of unknown length.
            "response_bytes": response.length if isinstance(response, StreamedResponse) else len(response.body),
            "process": self._process,
        }
        span = request.trace
        if span is not None:
            fields["trace_id"] = _id_text(span.trace_id)
            fields["span_id"] = span.span_id
        host = request.headers.get("Host")
        if host:
            fields["host"] = _repeated_text(host)
        if response.status >= 400 and (problem := _problem_of(response)):
            fields["problem"] = problem
        call = request.upstream_call
        if call is not None:
            fields["upstream"] = call[0]
            fields["upstream_ms"] = int(call[1] * 1e6) / 1000
        cache = _cache_status(response.header_block) or _cache_status(request.extra_headers)
        if cache:
            fields["cache"] = cache
        if request.api_key is not None:
            fields["api_key"] = request.api_key
        if b"Degraded: " in request.extra_headers:
            fields["degraded"] = [
                line[10:].decode() for line in request.extra_headers.split(b"\r\n") if line.startswith(b"Degraded: ")
            ]
        if self._personal_names:
            fields |= {
                name: _repeated_text(value) if name == "user_agent" else log_text(value)
                for name, value in _personal_fields(request)
                if name in self._personal_names and value
            }
        line = orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
        return line if len(line) <= ATOMIC_BYTES else _cut_off(fields)

    async def close(self) -> None:
        """Write the rest of the log and close the file."""
        await self._writer.close()

    def snapshot(self) -> Mapping[str, Any]:
        """Lines written and dropped."""
        return {"written": self._writer.written, "dropped": self._writer.dropped}

    def metrics(self) -> Iterable[Metric]:
        """The same as counters."""
        samples = [Sample({"outcome": name}, count) for name, count in self.snapshot().items()]
        yield Metric("peakgate_access_log_lines_total", "Lines of the access log.", "counter", samples)


def outcome_of(status: int) -> Outcome:
    """The outcome of a request by the status of its response."""
    if status < 400:
        return "ok"
    if status in _REJECTED:
        return "rejected"
    return "client_error" if status < 500 else "server_error"


def _id_text(request_id: str) -> str:
    """The id; one that a client chose (`traceparent`) may hold a card number."""
    return request_id if len(request_id) == OWN_ID_LENGTH else log_text(request_id)


def _problem_of(response: Response) -> str:
    """The type of the problem that a response tells; empty where it is another response."""
    if response.problem is not None:
        return f"/problems/{response.problem.slug}"
    body = response.body
    if response.content_type == PROBLEM_JSON and body.startswith(_OWN_PROBLEM):
        return log_text(body[_TYPE_START : body.find(b'"', _TYPE_START)].decode("utf-8", "replace"))
    return ""


def _cache_status(header_block: bytes) -> str:
    """The part of `Cache-Status` (RFC 9211) that the cache of this gateway has added; empty without one."""
    field = header_block.find(b"Cache-Status: ")
    if field < 0:
        return ""
    start = header_block.find(_OWN_CACHE, field)
    if start < 0:
        return ""
    start += len(_OWN_CACHE)
    status = header_block[start : header_block.find(b"\r\n", start)]
    return status.partition(b",")[0].decode("latin-1")


def _cut_off(fields: dict[str, Any]) -> bytes:
    """A line that a pipe takes in one piece, with less of its long texts."""
    short = {name: value[:_SHORT_TEXT] if isinstance(value, str) else value for name, value in fields.items()}
    return orjson.dumps(short, option=orjson.OPT_APPEND_NEWLINE)


def _repeated_text(text: str) -> str:
    """`log_text` of values that many requests have in common."""
    return _cached_text(text) if len(text) <= _CACHED_TEXT else log_text(text)


def _personal_fields(request: Request) -> Iterable[tuple[str, str | None]]:
    yield "address", request.client
    yield "shopper", request.shopper
    yield "path", request.path
    yield "query", request.query
    yield "user_agent", request.headers.get("User-Agent")
