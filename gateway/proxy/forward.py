"""Hands a request on to an upstream, and the answer back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from gateway.config.policies import Forward
from gateway.http import problems
from gateway.http.message import Handler, Request, Response, ResponseOrAwaitable, StreamedResponse
from gateway.proxy.connection import Connection
from gateway.proxy.errors import AllBusy, CutOff, HungUp, NotReached, TimedOut, UpstreamFault
from gateway.proxy.header_fields import Ambiguous, Fields, NotTaken, Onward
from gateway.proxy.ports import NO_GUARD, Guard
from gateway.proxy.target import Target
from gateway.proxy.upstreams import UpstreamPool

# RFC 9110, 9.2.2: a second time has the effect of the first.
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# An upstream that says so cannot serve; any other status, 500 too, is its answer.
_CANNOT_SERVE: Final = frozenset({502, 503, 504})
_CLASSES: Final = ("", "1xx", "2xx", "3xx", "4xx", "5xx")
_CUT_OUT: Final = {"detail": "What this is forwarded to is cut off for now."}


def forward(
    rule: Forward,
    upstream: UpstreamPool,
    *,
    guard: Guard = NO_GUARD,
    trusts: Callable[[str], bool] = lambda _peer: False,
    scheme: str = "http",
) -> Handler:
    """A handler that asks `upstream`. Without a streamed request body it waits for plain futures only.

    `trusts` says of a peer's address whether its `X-Forwarded-*` and `Forwarded` are believed; `scheme` is what peers
    speak with the gateway; how long a body may be is the server's to see to. Upstream faults are answered 502, 504 or 503; a tripped `guard` 503. The answer is a
    `StreamedResponse` where it is long, has no known length, or answers HEAD with the length of what GET would get.
    """
    fields = Fields(rule, trusts=trusts, scheme=scheme)
    forwarding = _Forwarding(rule, upstream, guard)

    def forwarded(request: Request) -> ResponseOrAwaitable:
        stream = request.stream
        try:
            onward = fields.onward(request, streams=stream is not None)
        except Ambiguous as why:
            return problems.response(problems.AMBIGUOUS, request.id, {"detail": f"There is {why}."})
        except NotTaken as why:
            return problems.response(problems.NOT_IMPLEMENTED, request.id, {"detail": f"{why}."})
        if not guard.try_enter():
            upstream.outcomes["cut_out"] += 1
            return problems.response(problems.TIMED_OUT, request.id, _CUT_OUT)
        if stream is None:
            return forwarding.exchange(request, onward)
        return forwarding.exchange_streaming(request, onward, stream)

    return forwarded


class _Forwarding:
    """What all requests of one rule share."""

    def __init__(self, rule: Forward, upstream: UpstreamPool, guard: Guard) -> None:
        self._rule = rule
        self._upstream = upstream
        self._guard = guard
        self._now = asyncio.get_running_loop().time

    async def exchange(self, request: Request, onward: Onward) -> Response:
        """Ask with a complete body, if need be and allowed more than once."""
        upstream, started_at = self._upstream, self._now()
        upstream.budget.count_request()
        deadline = started_at + onward.timeout_s
        timeout_ms = int(onward.timeout_s * 1000)
        retries, had_stale = 0, False
        target = upstream.pick()
        while True:
            connection: Connection | None = None
            try:
                connection = target.take() or await target.obtain(deadline)
                response = await connection.ask(
                    onward.to(target.place, timeout_ms) + request.body,
                    bodiless=request.method == "HEAD",
                    deadline=deadline,
                    idle_timeout_s=self._rule.idle_timeout_s,
                )
            except UpstreamFault as fault:
                is_stale = isinstance(fault, HungUp) and fault.was_kept
                self._note_of_target(target, fault, onward)
                left_s = deadline - self._now()
                if left_s <= 0 or not self._may_retry(request, fault, retries, is_free=is_stale and not had_stale):
                    return self._failed(request, fault, onward)
                if is_stale and not had_stale:
                    had_stale = True
                else:
                    retries += 1
                target = upstream.pick(None if is_stale else target)
                timeout_ms = max(1, int(left_s * 1000))
            except BaseException:
                self._abandon(connection)
                raise
            else:
                return self._answered(target, response, started_at)

    def _may_retry(self, request: Request, fault: UpstreamFault, retries: int, *, is_free: bool) -> bool:
        """Only what has the same effect twice, and of which nothing was answered, within the budget.

        An upstream that closes a kept connection just as it is used has done nothing wrong: that is tried again once, free.
        """
        if request.method not in _IDEMPOTENT or not isinstance(fault, NotReached | HungUp):
            return False
        if is_free:
            kind = "free"
        elif retries >= self._rule.retries:
            return False
        else:
            kind = "budgeted" if self._upstream.budget.try_retry() else "denied"
        self._upstream.retries[kind] += 1
        return kind != "denied"

    async def exchange_streaming(self, request: Request, onward: Onward, stream: AsyncIterator[bytes]) -> Response:
        """Ask with a body that still comes: once, since it cannot be had again. Needs a task of its own."""
        upstream, started_at = self._upstream, self._now()
        upstream.budget.count_request()
        target = upstream.pick()
        connection: Connection | None = None
        try:
            connection = await target.obtain(started_at + onward.timeout_s)
            response, asked_at = await self._ask_streaming(connection, target, request, onward, stream)
        except UpstreamFault as fault:
            self._note_of_target(target, fault, onward)
            return self._failed(request, fault, onward)
        except BaseException:
            self._abandon(connection)
            raise
        return self._answered(target, response, asked_at)

    async def _ask_streaming(
        self, connection: Connection, target: Target, request: Request, onward: Onward, stream: AsyncIterator[bytes]
    ) -> tuple[Response, float]:
        """The answer, and since when the upstream had all it needs for it: how long a shopper sends is not its time."""
        answer = connection.ask(
            onward.to(target.place, int(onward.timeout_s * 1000)),
            bodiless=request.method == "HEAD",
            # Its time begins when it has everything.
            deadline=float("inf"),
            idle_timeout_s=self._rule.idle_timeout_s,
            is_whole=False,
        )
        sending = asyncio.create_task(self._send(connection, stream, onward.timeout_s))
        try:
            waited: set[asyncio.Future[Any]] = {answer, sending}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            # Before there is an answer this raises what went wrong with the shopper.
            asked_at = self._now() if answer.done() else await sending
            response = await answer
        except BaseException:
            await _stop(sending)
            raise
        if isinstance(response, StreamedResponse) and not sending.done():
            # Both ways at the same time; what goes wrong on the way there cuts off the way back.
            sending.add_done_callback(lambda done: _cut_off(connection, done))
        else:
            await _stop(sending)
        return response, asked_at

    async def _send(self, connection: Connection, stream: AsyncIterator[bytes], timeout_s: float) -> float:
        """Send the body in chunks (RFC 9112, 7.1), as fast as the upstream reads; tells when that was done."""
        async for piece in stream:
            if piece:
                await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await connection.send(b"0\r\n\r\n")
        sent_at = self._now()
        connection.sent(deadline=sent_at + timeout_s)
        return sent_at

    # What came of it

    def _answered(self, target: Target, response: Response, started_at: float) -> Response:
        status = response.status
        self._upstream.outcomes[_CLASSES[status // 100]] += 1
        if status in _CANNOT_SERVE:
            target.failed(f"it answered {status}")
            self._guard.failed(f"it answered {status}")
        else:
            if not isinstance(response, StreamedResponse):
                target.health.succeeded()
            self._guard.succeeded(self._now() - started_at)
        return response

    def _note_of_target(self, target: Target, fault: UpstreamFault, onward: Onward) -> None:
        is_stale = isinstance(fault, HungUp) and fault.was_kept
        if not is_stale and not self._says_nothing(fault, onward):
            target.failed(str(fault))

    def _says_nothing(self, fault: UpstreamFault, onward: Onward) -> bool:
        """Whether a fault is not the upstream's: our own limit, or a time that the shopper made too short.

        Otherwise whoever asks for an answer within a millisecond could have an upstream cut off for all.
        """
        return isinstance(fault, AllBusy) or (isinstance(fault, TimedOut) and onward.timeout_s < self._rule.timeout_s)

    def _failed(self, request: Request, fault: UpstreamFault, onward: Onward) -> Response:
        self._upstream.outcomes[fault.outcome] += 1
        if self._says_nothing(fault, onward):
            self._guard.abandoned()
        else:
            self._guard.failed(str(fault))
        # Where the upstream is and what it did is nobody's business outside.
        return problems.response(fault.problem, request.id)

    def _abandon(self, connection: Connection | None) -> None:
        self._upstream.outcomes["abandoned"] += 1
        self._guard.abandoned()
        if connection is not None:
            connection.abort()


async def _stop(task: asyncio.Task[float]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # what went wrong with the rest of the body changes nothing any more


def _cut_off(connection: Connection, sending: asyncio.Task[float]) -> None:
    if sending.cancelled() or sending.exception() is not None:
        connection.fail(CutOff("its request was not sent to the end"))
