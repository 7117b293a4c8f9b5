"""One request to an upstream whose body is still being received; it cannot be sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from gateway.config.policies import Forward
from gateway.http.message import Request, Response, StreamedResponse
from gateway.proxy.connection import Connection
from gateway.proxy.errors import Truncated, UpstreamFault
from gateway.proxy.outcomes import Outcomes
from gateway.proxy.request_head import RequestHead
from gateway.proxy.target import Target
from gateway.proxy.upstream import ActiveUpstream


class StreamedExchange:
    """Sends the requests of one rule whose bodies are streamed. Needs a task."""

    __slots__ = ("_idle_timeout_s", "_now", "_outcomes", "_upstream")

    def __init__(self, rule: Forward, upstream: ActiveUpstream, outcomes: Outcomes) -> None:
        self._idle_timeout_s = rule.idle_timeout_s
        self._upstream = upstream
        self._outcomes = outcomes
        self._now = asyncio.get_running_loop().time

    async def send(self, request: Request, head: RequestHead, stream: AsyncIterator[bytes]) -> Response:
        """Send a request once."""
        upstream, started_at = self._upstream, self._now()
        upstream.budget.count_request()
        target = upstream.choose()
        connection: Connection | None = None
        try:
            connection = await target.pool.obtain_for_stream(request.client, started_at + head.timeout_s)
            response, sent_at = await self._send_on(connection, target, request, head, stream)
        except UpstreamFault as fault:
            request.upstream_call = (upstream.name, self._now() - started_at)
            self._outcomes.target_failed(target, fault, head.timeout_s)
            return self._outcomes.failed(request, fault, head.timeout_s)
        except BaseException:
            request.upstream_call = (upstream.name, self._now() - started_at)
            self._outcomes.abandoned(connection)
            raise
        elapsed_s = self._now() - sent_at
        request.upstream_call = (upstream.name, elapsed_s)
        self._outcomes.responded(target, response, elapsed_s)
        return response

    async def _send_on(
        self,
        connection: Connection,
        target: Target,
        request: Request,
        head: RequestHead,
        stream: AsyncIterator[bytes],
    ) -> tuple[Response, float]:
        """The response, and when the upstream had the whole request: the time of a slow client is not its own."""
        responding = connection.request(
            head.render(target.address, int(head.timeout_s * 1000)),
            is_bodiless=request.method == "HEAD",
            # Set when the whole body was sent.
            deadline=float("inf"),
            idle_timeout_s=self._idle_timeout_s,
            client=request.client,
            is_whole=False,
            allows_reuse=head.allows_reuse,
            interims=request.interims,
        )
        sending = asyncio.create_task(self._send_body(connection, stream, head))
        try:
            both: set[asyncio.Future[Any]] = {responding, sending}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            # Without a response yet, this raises the fault of the client's body.
            sent_at = self._now() if responding.done() else await sending
            response = await responding
        except BaseException:
            await _stop(sending)
            raise
        if isinstance(response, StreamedResponse) and not sending.done():
            # Both bodies are streamed at the same time; a fault of one truncates the other.
            sending.add_done_callback(lambda done: _truncate(connection, done))
        else:
            await _stop(sending)
        return response, sent_at

    async def _send_body(self, connection: Connection, stream: AsyncIterator[bytes], head: RequestHead) -> float:
        """Send the body as fast as the upstream reads, in chunks if its length is unknown; returns when that was done."""
        is_chunked = head.body_length is None
        async for piece in stream:
            if piece:
                await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
        if is_chunked:
            await connection.send(b"0\r\n\r\n")
        sent_at = self._now()
        connection.sent(deadline=sent_at + head.timeout_s)
        return sent_at


async def _stop(task: asyncio.Task[float]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # a fault of the rest of the body no longer matters


def _truncate(connection: Connection, sending: asyncio.Task[float]) -> None:
    if sending.cancelled() or sending.exception() is not None:
        connection.fail(Truncated("its request was not sent to the end"))
