"""HTTP as bytes: a client that sends exactly what it is told and reads answers strictly."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson

WITHIN_S = 10.0
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d) ([ -~]+)")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([ -~]*)")
_BODILESS = {204, 304}


class NotHttp(AssertionError):
    """The server sent something that is no answer."""


@dataclass(frozen=True)
class Answer:
    """One response as it came."""

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
        """Whether the server says that it closes the connection; for HTTP/1.0 that goes without saying."""
        said = self["Connection"].lower() if "Connection" in self else ""
        return said == "close" or (self.minor_version == 0 and said != "keep-alive")

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
        """All of it but some headers, for comparing: their order says nothing, nor does the case of their names."""
        dropped = {name.lower() for name in names}
        kept = frozenset((key.lower(), value) for key, value in self.headers if key.lower() not in dropped)
        assert len(kept) == len([key for key, _ in self.headers if key.lower() not in dropped]), "a header came twice"
        return (self.status, self.reason, kept, self.body)


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
        """Send each piece on its own: the server has taken one in before the next comes."""
        for piece in pieces:
            if self.writer.is_closing():
                return  # what the server has said before it closed can still be read
            self.writer.write(piece)
            await self.writer.drain()
            # Not for time to pass: the server, in the same loop, gets its turns to read.
            for _ in range(5):
                await asyncio.sleep(0)

    async def ask(self, *pieces: bytes, method: str | None = None) -> Answer:
        """Send a request and read its answer."""
        await self.send(*pieces)
        return await self.answer(method=method or pieces[0].partition(b" ")[0].decode("latin-1"))

    async def answer(self, *, method: str = "GET") -> Answer:
        """Read the next answer; raises `NotHttp` for what is none, `EOFError` if the server closes instead."""
        async with asyncio.timeout(WITHIN_S):
            minor_version, status, reason = await self._status_line()
            headers = await self._headers()
            body = await self._body(method, status, headers)
        return Answer(status, reason, headers, body, minor_version)

    async def answers(self, count: int) -> list[Answer]:
        """Read several answers."""
        return [await self.answer() for _ in range(count)]

    async def interim(self) -> int:
        """Read an interim answer such as 100, which has no headers here."""
        answer = await self.answer()
        assert 100 <= answer.status < 200
        assert not answer.headers
        return answer.status

    async def closed(self, *, within_s: float = WITHIN_S) -> None:
        """Wait until the server has closed the connection; nothing more may come."""
        try:
            async with asyncio.timeout(within_s):
                rest = await self.reader.read()
        except ConnectionError:
            return
        assert rest == b"", f"after the last answer came {rest[:200]!r}"

    async def is_silent(self) -> bool:
        """Whether nothing is to be read though the server had every chance to send it."""
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
            raise NotHttp(f"a line that does not end: {line[:200]!r}")
        return line[:-2]

    async def _status_line(self) -> tuple[int, int, str]:
        line = await self._line()
        if not (found := _STATUS_LINE.fullmatch(line)):
            raise NotHttp(f"no status line: {line[:200]!r}")
        return int(found[1]), int(found[2]), found[3].decode()

    async def _headers(self) -> tuple[tuple[str, str], ...]:
        headers = []
        while line := await self._line():
            if not (found := _HEADER.fullmatch(line)):
                raise NotHttp(f"no header line: {line[:200]!r}")
            headers.append((found[1].decode(), found[2].decode()))
        return tuple(headers)

    async def _body(self, method: str, status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
        named = {key.lower(): value for key, value in headers}
        if len(named) != len(headers):
            raise NotHttp(f"a header came twice: {headers}")
        if status < 200 or status in _BODILESS:
            if {"content-length", "transfer-encoding"} & set(named):
                raise NotHttp(f"{status} with the length of a body: {headers}")
            return b""
        if method == "HEAD":
            return b""
        if named.get("transfer-encoding") == "chunked":
            return await self._chunks()
        if "content-length" not in named:
            raise NotHttp(f"an answer without a length: {headers}")
        return await self.reader.readexactly(int(named["content-length"]))

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self._line(), 16):
            body += await self.reader.readexactly(size)
            assert await self._line() == b""
        assert await self._line() == b""
        return body
