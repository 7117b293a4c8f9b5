"""HTTP as bytes: a client that sends exactly the given bytes and reads responses strictly."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson

from tests.waiting import WITHIN_S

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d) ([ -~]+)")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([ -~]*)")
_BODILESS = {204, 304}


class InvalidResponse(AssertionError):
    """The server sent something that is no HTTP response."""


@dataclass(frozen=True)
class RawResponse:
    """One response as it was received."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    minor_version: int = 1

    def __getitem__(self, name: str) -> str:
        """The one value of a header."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) == 1, f"{len(found)} {name} headers in {self}"
        return found[0]

    def __contains__(self, name: str) -> bool:
        return any(key.lower() == name.lower() for key, _ in self.headers)

    @property
    def closes(self) -> bool:
        """Whether the response announces that the server closes the connection, as every HTTP/1.0 response does by default."""
        connection = self["Connection"].lower() if "Connection" in self else ""
        return connection == "close" or (self.minor_version == 0 and connection != "keep-alive")

    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)

    @property
    def problem(self) -> str:
        """The slug of a problem, which must be complete (RFC 9457)."""
        assert self["Content-Type"] == "application/problem+json"
        body = self.json()
        assert {"type", "title", "status", "detail", "instance"} <= set(body)
        assert body["status"] == self.status
        assert body["instance"] == self["X-Request-Id"]
        return str(body["type"]).removeprefix("/problems/")

    def without(self, *names: str) -> tuple[int, str, frozenset[tuple[str, str]], bytes]:
        """The response without some headers, for comparison: their order and the case of their names do not matter."""
        dropped = {name.lower() for name in names}
        remaining = frozenset((key.lower(), value) for key, value in self.headers if key.lower() not in dropped)
        assert len(remaining) == len([key for key, _ in self.headers if key.lower() not in dropped]), (
            "a header is repeated"
        )
        return (self.status, self.reason, remaining, self.body)


class RawClient:
    """One connection to a server on this machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, *, limit: int = 2**20) -> RawClient:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=limit))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()

    async def send(self, *pieces: bytes) -> None:
        """Send each piece on its own: the server has received one before the next is sent."""
        for piece in pieces:
            if self.writer.is_closing():
                return  # responses sent before the server closed can still be read
            self.writer.write(piece)
            try:
                await self.writer.drain()
            except ConnectionResetError:
                return  # as above: it closed meanwhile
            # Not for time to pass: the server, in the same loop, gets its turns to read.
            for _ in range(5):
                await asyncio.sleep(0)

    async def request(self, *pieces: bytes, method: str | None = None) -> RawResponse:
        """Send a request and read its response."""
        await self.send(*pieces)
        return await self.response(method=method or pieces[0].partition(b" ")[0].decode("latin-1"))

    async def response(self, *, method: str = "GET") -> RawResponse:
        """Read the next response; raises `InvalidResponse` for anything else, `EOFError` if the server closes instead."""
        async with asyncio.timeout(WITHIN_S):
            minor_version, status, reason = await self._status_line()
            headers = await self._headers()
            body = await self._body(method, status, headers)
        return RawResponse(status, reason, headers, body, minor_version)

    async def responses(self, count: int) -> list[RawResponse]:
        """Read several responses."""
        return [await self.response() for _ in range(count)]

    async def interim(self) -> int:
        """Read an interim response such as 100, which has no headers here."""
        response = await self.response()
        assert 100 <= response.status < 200
        assert not response.headers
        return response.status

    async def closed(self, *, within_s: float = WITHIN_S) -> None:
        """Wait until the server has closed the connection; nothing more may be sent."""
        try:
            async with asyncio.timeout(within_s):
                rest = await self.reader.read()
        except ConnectionError:
            return
        assert rest == b"", f"after the last response came {rest[:200]!r}"

    async def is_silent(self) -> bool:
        """Whether the server sends nothing, although its loop has run often enough to do so."""
        for _ in range(20):
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0.02):
                return not await self.reader.read(1)
        except TimeoutError:
            return True

    async def _line(self) -> bytes:
        line = await self.reader.readline()
        if not line:
            raise EOFError
        if not line.endswith(b"\r\n"):
            raise InvalidResponse(f"a line that does not end: {line[:200]!r}")
        return line[:-2]

    async def _status_line(self) -> tuple[int, int, str]:
        line = await self._line()
        if not (found := _STATUS_LINE.fullmatch(line)):
            raise InvalidResponse(f"no status line: {line[:200]!r}")
        return int(found[1]), int(found[2]), found[3].decode()

    async def _headers(self) -> tuple[tuple[str, str], ...]:
        headers = []
        while line := await self._line():
            if not (found := _HEADER.fullmatch(line)):
                raise InvalidResponse(f"no header line: {line[:200]!r}")
            headers.append((found[1].decode(), found[2].decode()))
        return tuple(headers)

    async def _body(self, method: str, status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
        named = {key.lower(): value for key, value in headers}
        # `Degraded` has one line for each part: docs/degrading.md.
        if len({(key.lower(), value if key == "Degraded" else "") for key, value in headers}) != len(headers):
            raise InvalidResponse(f"a header is repeated: {headers}")
        if status < 200 or status in _BODILESS:
            if {"content-length", "transfer-encoding"} & set(named):
                raise InvalidResponse(f"{status} with the length of a body: {headers}")
            return b""
        if method == "HEAD":
            return b""
        if named.get("transfer-encoding") == "chunked":
            return await self._chunks()
        if "content-length" not in named:
            raise InvalidResponse(f"a response without a length: {headers}")
        return await self.reader.readexactly(int(named["content-length"]))

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self._line(), 16):
            body += await self.reader.readexactly(size)
            assert await self._line() == b""
        assert await self._line() == b""
        return body
