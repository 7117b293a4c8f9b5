"""What all connections of a process share: routes, limits, the timer of slow senders, and drain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser

from gateway.http.addresses import ADDRESS_FIELDS
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response
from gateway.http.router import Router
from gateway.server.connection import Connection
from gateway.server.early_reject import UnreadRefusals
from gateway.server.normal_way import normal_way
from gateway.server.response_writer import RequestIds, ResponseWriter

# Longer than the 60 s after which a balancer gives up an idle connection, so that it never sends into a closed one.
KEEPALIVE_S: Final = 75.0
RECEIVE_TIMEOUT_S: Final = 10.0
# What a shopper leaves unread for so long is thrown away.
SEND_TIMEOUT_S: Final = 30.0
MAX_LINE_BYTES: Final = 8 * 1024
MAX_HEADERS: Final = 100
# Twice as much of a body is held that nobody takes, besides what one read of the socket brings.
READ_BUFFER_BYTES: Final = 8 * 1024
# How long a shopper whose request is refused before it has come whole may take to stop sending and read why.
LINGER_S: Final = 2.0
_WATCH_S: Final = 0.5
# Connections that stay unused this long while draining are closed; busy ones are told with their next answer.
_UNUSED_S: Final = 1.0
_POLL_S: Final = 0.02


AccessLog = Callable[[Endpoint, Request, Response, float], None]


class EdgeServer(web.Server):
    """Makes a `Connection` for every accepted socket. Raises `RuntimeError` without aiohttp's C extensions."""

    def __init__(
        self,
        router: Router,
        *,
        keepalive_s: float = KEEPALIVE_S,
        receive_timeout_s: float = RECEIVE_TIMEOUT_S,
        send_timeout_s: float = SEND_TIMEOUT_S,
        linger_s: float = LINGER_S,
    ) -> None:
        if HttpRequestParser.__module__ != "aiohttp._http_parser":
            raise RuntimeError("aiohttp runs without its C extensions; install its wheel, or build it with a compiler")
        # May be replaced while serving: each request asks it once.
        self.router = router
        self.access_log: AccessLog | None = None
        # Refuses what is not worth parsing; there is one only while there is such.
        self.unread: UnreadRefusals | None = None
        # How shoppers last called us, so that what is fetched for them beforehand is found by them.
        self.last_address: dict[str, str] = {"Host": "localhost"}
        self.ids = RequestIds()
        self.writer = ResponseWriter()
        self.is_draining = False
        self.linger_s = linger_s
        self._receive_timeout_s = receive_timeout_s
        self._send_timeout_s = send_timeout_s
        self._options: dict[str, Any] = {
            "keepalive_timeout": keepalive_s,
            "max_line_size": MAX_LINE_BYTES,
            "max_field_size": MAX_LINE_BYTES,
            "max_headers": MAX_HEADERS,
            "access_log": None,
            # A compressed body is refused, never unpacked: no bombs.
            "auto_decompress": False,
            "lingering_time": linger_s,
            "read_bufsize": READ_BUFFER_BYTES,
        }
        super().__init__(normal_way(self, body_timeout_s=receive_timeout_s))
        self._watcher = self._loop.create_task(self._watch())

    def __call__(self) -> Connection:
        """Make the handler of one connection."""
        return Connection(self, **self._options)

    def record(self, endpoint: Endpoint, request: Request, response: Response) -> None:
        """Note an answer: how many, how long it took, and a line in the access log for some."""
        elapsed_s = monotonic() - request.started_at
        endpoint.stats.add(response.status, elapsed_s)
        if self.access_log is not None:
            self.access_log(endpoint, request, response, elapsed_s)

    def learn_address(self, headers: Mapping[str, str]) -> None:
        """Remember how a shopper calls us."""
        self.last_address = {name: headers[name] for name in ADDRESS_FIELDS if name in headers}

    @property
    def _open_connections(self) -> list[Connection]:
        return cast(list[Connection], self.connections)

    async def _watch(self) -> None:
        """Keep the date, and end connections on which a request comes or an answer goes too slowly."""
        while True:
            await asyncio.sleep(min(_WATCH_S, self._receive_timeout_s / 2, self._send_timeout_s / 2))
            self.writer.refresh()
            now = self._loop.time()
            for connection in self._open_connections:
                connection.check(now, receive_timeout_s=self._receive_timeout_s, send_timeout_s=self._send_timeout_s)

    async def drain(self, timeout_s: float) -> None:
        """Finish what runs, then close: every answer from now on ends its connection, idle ones end after a moment.

        Call it when no new connection can come any more. Returns when the last one is closed or `timeout_s` is over;
        what still runs then is cut off.
        """
        self.is_draining = True
        end = self._loop.time() + timeout_s
        unused_end = min(self._loop.time() + _UNUSED_S, end)
        while self.connections and self._loop.time() < end:
            if self._loop.time() >= unused_end:
                for connection in self._open_connections:
                    connection.close_if_idle()
            await asyncio.sleep(_POLL_S)
        await self.shutdown(timeout=0.1)
        self._watcher.cancel()
