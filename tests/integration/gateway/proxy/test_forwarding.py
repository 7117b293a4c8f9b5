from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config.policies import Upstream
from gateway.http.message import BodyTooLarge, Response, StreamedResponse
from gateway.proxy.upstreams import NoTargetAvailable
from tests.integration.gateway.proxy.raw_upstream import (
    OK,
    Peer,
    always,
    forwarding,
    once,
    request,
    unused_url,
    whole,
)
from tests.waiting import until


class RecordingGuard:
    """Records its calls."""

    def __init__(self) -> None:
        self.is_open = True
        self.told: list[str] = []

    def try_enter(self) -> bool:
        return self.is_open

    def succeeded(self, elapsed_s: float) -> None:
        assert elapsed_s >= 0
        self.told.append("succeeded")

    def failed(self, reason: str) -> None:
        self.told.append(f"failed: {reason}")

    def abandoned(self) -> None:
        self.told.append("abandoned")


async def test_a_small_response_is_returned_whole_with_its_end_to_end_fields() -> None:
    response = (
        b"HTTP/1.1 201 Created\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 11:00:00 GMT\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 5\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b'ETag:\t"1" \r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Request-Id: theirs\r\n\r\nhello'
    )
    async with forwarding(always(response)) as (gate, servers):
        for _ in range(3):
            got = await gate.send()
            assert not isinstance(got, StreamedResponse)
            assert (got.status, got.content_type, got.body) == (201, b"text/plain", b"hello")
            date = b"Date: Sat, 21 Nov 2026 11:00:00 GMT\r\n"
            assert got.header_block == date + b'ETag: "1"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n'
        assert servers[0].connections == 1


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200\r\ncontent-length:5\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
    ],
)
async def test_every_framing_of_a_body_is_parsed(response: bytes) -> None:
    async with forwarding(once(response)) as (gate, _):
        assert await gate.body_of() == b"hello"


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "1"\r\n\r\n',
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_responses_without_a_body_keep_the_connection(response: bytes) -> None:
    async with forwarding(always(response)) as (gate, servers):
        for _ in range(2):
            assert await gate.body_of() == b""
        assert servers[0].connections == 1


async def test_a_response_to_head_has_the_length_of_a_get_and_no_body() -> None:
    async with forwarding(always(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")) as (gate, servers):
        for _ in range(2):
            response = await gate.send(request("HEAD"))
            assert isinstance(response, StreamedResponse)
            assert response.length == 500
            assert await whole(response) == b""
        assert servers[0].connections == 1


async def test_a_response_to_head_has_no_length_if_it_is_unknown() -> None:
    async with forwarding(always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")) as (gate, servers):
        for _ in range(2):
            response = await gate.send(request("HEAD"))
            assert isinstance(response, StreamedResponse)
            assert response.length is None
        assert servers[0].connections == 1


async def test_a_complete_body_is_sent_with_its_length() -> None:
    async with forwarding(always(OK)) as (gate, servers):
        assert await gate.body_of(request("POST", body=b'{"a":1}', content_type="application/json")) == b"ok"
        head, _, body = servers[0].requests[0].partition(b"\r\n\r\n")
        assert body == b'{"a":1}'
        assert b"\r\ncontent-type: application/json\r\n" in head
        assert head.count(b"Content-Length") == 1


async def pieces(*given: bytes, fault: Exception | None = None) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece
    if fault is not None:
        raise fault


async def test_a_streamed_body_of_known_length_is_sent_with_it() -> None:
    asked = request("PUT", content_length="8")
    asked.stream = pieces(b"one", b"", b"three")
    async with forwarding(always(OK)) as (gate, servers):
        assert await gate.body_of(asked) == b"ok"
        head, _, body = servers[0].requests[0].partition(b"\r\n\r\n")
        assert body == b"onethree"
        assert b"\r\nContent-Length: 8\r\n" in head
        assert b"chunked" not in head
        await until(lambda: gate.upstream.targets[0].pool.idle == 1)


async def test_a_streamed_body_of_unknown_length_is_sent_in_chunks() -> None:
    asked = request("PUT", content_length="999", transfer_encoding="gzip")
    asked.stream = pieces(b"one", b"", b"three")
    async with forwarding(always(OK)) as (gate, servers):
        assert await gate.body_of(asked) == b"ok"
        head, _, body = servers[0].requests[0].partition(b"\r\n\r\n")
        assert body == b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"
        assert b"999" not in head
        assert b"gzip" not in head
        await until(lambda: gate.upstream.targets[0].pool.idle == 1)


async def test_a_fault_of_the_clients_body_is_raised_and_closes_the_upstream_connection() -> None:
    guard = RecordingGuard()

    async def script(peer: Peer) -> None:
        await peer.request()

    asked = request("POST")
    asked.stream = pieces(b"one", fault=BodyTooLarge())
    async with forwarding(script, guard=guard) as (gate, servers):
        with pytest.raises(BodyTooLarge):
            await gate.send(asked)
        await until(lambda: servers[0].connections == 1 and servers[0].open == 0)
        assert servers[0].requests == []
        assert guard.told == ["abandoned"]
        assert gate.upstream.targets[0].outstanding == 0


async def test_a_body_waits_for_an_upstream_that_reads_slowly() -> None:
    sent = 0
    may_read = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 65536
            yield bytes(65536)

    async def script(peer: Peer) -> None:
        await may_read.wait()
        await peer.request()
        await peer.send(OK)

    asked = request("POST")
    asked.stream = endless()
    async with forwarding(script, idle_timeout_s=20.0, timeout_s=20.0) as (gate, _):
        asking = asyncio.ensure_future(gate.send(asked))
        before = -1
        while before != sent or not sent:
            before = sent
            for _ in range(50):
                await asyncio.sleep(0)
        # No more than the kernel and the upstream buffer.
        assert sent < 2**26
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        may_read.set()


async def test_an_upstream_that_never_reads_a_body_times_out() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    async def script(peer: Peer) -> None:
        await asyncio.Event().wait()

    asked = request("POST")
    asked.stream = endless()
    async with forwarding(script) as (gate, _):
        assert (await gate.send(asked)).status == 504


async def test_a_response_before_the_end_of_the_body_is_passed_on() -> None:
    never = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield b"one"
        await never.wait()

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"one\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        await peer.closed()

    asked = request("POST")
    asked.stream = stuck()
    async with forwarding(script) as (gate, servers):
        response = await gate.send(asked)
        assert (response.status, response.body) == (413, b"no!")
        await until(lambda: servers[0].open == 0)


async def test_both_bodies_may_be_streamed_at_the_same_time() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            size = int(await peer.reader.readline(), 16)
            piece = (await peer.reader.readexactly(size + 2))[:-2]
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece.upper()))
            if not piece:
                return

    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def conversation() -> AsyncIterator[bytes]:
        yield b"one"
        assert await heard.get() == b"ONE"
        yield b"two"

    asked = request("POST")
    asked.stream = conversation()
    async with forwarding(script, timeout_s=5.0, idle_timeout_s=5.0) as (gate, _):
        response = await gate.send(asked)
        assert isinstance(response, StreamedResponse)
        got = []
        async for piece in response.chunks:
            got.append(piece)
            heard.put_nowait(piece)
        assert got == [b"ONE", b"TWO"]


async def test_websocket_is_rejected_and_other_upgrades_are_ignored() -> None:
    async with forwarding(always(OK)) as (gate, servers):
        refused = await gate.send(request(connection="Upgrade", upgrade="websocket"))
        assert refused.status == 501
        assert b"WebSocket" in refused.body
        assert (
            await gate.body_of(request(connection="Upgrade, HTTP2-Settings", upgrade="h2c", http2_settings="x"))
            == b"ok"
        )
        assert b"h2c" not in servers[0].requests[0]


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "BREW", "get"])
async def test_methods_that_are_not_forwarded_are_rejected(method: str) -> None:
    async with forwarding(always(OK)) as (gate, servers):
        assert (await gate.send(request(method))).status == 501
        assert servers[0].connections == 0


async def test_an_ambiguous_request_is_never_sent() -> None:
    async with forwarding(always(OK)) as (gate, servers):
        for asked in (request(path="/a/../b"), request(path="/a%2fb"), request(x_one="1\r\nX-Two: 2")):
            assert (await gate.send(asked)).status == 400
        assert servers[0].connections == 0


# The guard


@pytest.mark.parametrize(
    ("status", "told"),
    [(200, "succeeded"), (404, "succeeded"), (500, "succeeded"), (503, "failed: it returned 503")],
)
async def test_every_response_is_reported_to_the_guard(status: int, told: str) -> None:
    guard = RecordingGuard()
    async with forwarding(always(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status), guard=guard) as (gate, _):
        assert (await gate.send()).status == status
        assert guard.told == [told]


async def test_an_open_breaker_rejects_at_once() -> None:
    guard = RecordingGuard()
    guard.is_open = False
    async with forwarding(always(OK), guard=guard) as (gate, servers):
        response = await gate.send()
        assert response.status == 503
        assert b"Retry-After" in response.header_block
        assert servers[0].connections == 0
        assert guard.told == []


async def test_a_request_with_retries_is_reported_to_the_guard_once() -> None:
    guard = RecordingGuard()
    async with forwarding(unused_url(), guard=guard, retries=3) as (gate, _):
        assert (await gate.send()).status == 502
        assert len(guard.told) == 1
        assert guard.told[0].startswith("failed: ")


async def test_a_shorter_timeout_of_the_client_does_not_count_against_the_upstream() -> None:
    guard = RecordingGuard()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    async with forwarding(script, guard=guard, timeout_s=10.0, table={"failures_to_eject": 1}) as (gate, servers):
        for timeout_ms in ("1", "200"):
            assert (await gate.send(request(request_timeout_ms=timeout_ms))).status == 504
        assert guard.told == ["abandoned", "abandoned"]
        assert gate.upstream.targets[0].health.state == "healthy"
        await until(lambda: servers[0].requests)
        assert b"\r\nRequest-Timeout-Ms: 200\r\n" in servers[0].requests[-1]


async def test_a_cancelled_request_closes_its_connection() -> None:
    guard = RecordingGuard()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    async with forwarding(script, guard=guard, timeout_s=20.0) as (gate, servers):
        asking = asyncio.ensure_future(gate.send())
        await until(lambda: servers[0].requests)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: servers[0].open == 0)
        assert guard.told == ["abandoned"]
        assert gate.upstream.targets[0].outstanding == 0


async def test_a_handler_that_is_closed_while_it_waits_frees_its_connection() -> None:
    """The server does so with a handler that it runs without a task."""
    guard = RecordingGuard()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    async with forwarding(script, guard=guard, timeout_s=20.0) as (gate, servers):
        running = gate.handler(request())
        assert not isinstance(running, Response)

        def go_on(_done: object = None) -> None:
            waits_for = running.send(None)
            assert isinstance(waits_for, asyncio.Future)
            waits_for.add_done_callback(go_on)

        go_on()
        await until(lambda: servers[0].requests)
        running.close()
        await until(lambda: servers[0].open == 0)
        assert guard.told == ["abandoned"]
        assert gate.upstream.targets[0].outstanding == 0


# Configuration that changes


async def test_targets_that_stay_keep_their_connections_and_others_are_retired() -> None:
    async with forwarding(always(OK), always(OK)) as (gate, servers):
        for _ in range(20):
            await gate.send()
        pool = gate.upstream
        gate.upstreams.update([Upstream(name="shop", targets=(servers[0].url,))])
        assert gate.upstream is pool
        await until(lambda: servers[1].open == 0)
        assert await gate.body_of() == b"ok"
        assert servers[0].connections == 1


async def test_requests_in_progress_outlive_their_target() -> None:
    may_answer = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await may_answer.wait()
        await peer.send(OK)
        await peer.closed()

    async with forwarding(script, timeout_s=20.0) as (gate, servers):
        asking = asyncio.ensure_future(gate.send())
        await until(lambda: servers[0].requests)
        gate.upstreams.update([])
        may_answer.set()
        assert (await asking).status == 200
        await until(lambda: servers[0].open == 0)


async def test_an_invalid_address_changes_nothing() -> None:
    async with forwarding(always(OK)) as (gate, _):
        with pytest.raises(ValueError, match="not the address"):
            gate.upstreams.update([Upstream(name="shop", targets=("http://",))])
        assert await gate.body_of() == b"ok"


# Status


async def test_readiness_and_metrics_show_the_state_of_upstreams() -> None:
    async with forwarding(unused_url(), retries=0, table={"failures_to_eject": 2}) as (gate, _):
        await gate.upstreams.check()
        for _ in range(2):
            await gate.send()
        with pytest.raises(NoTargetAvailable, match="shop"):
            await gate.upstreams.check()
        seen: Any = gate.upstreams.snapshot()["shop"]
        assert seen["requests"] == {"connect_failed": 2}
        assert seen["targets"][0]["state"] == "ejected"
        assert seen["targets"][0]["reason"]
        metrics = {metric.name: metric.samples for metric in gate.upstreams.metrics()}
        assert metrics["peakgate_upstream_requests_total"][0].value == 2
        assert metrics["peakgate_upstream_target_available"][0].value == 0


async def test_a_target_may_have_a_base_path() -> None:
    async with forwarding(always(OK)) as (gate, servers):
        gate.upstreams.update([Upstream(name="shop", targets=(servers[0].url + "/base/",))])
        await gate.send(request(path="/a", query="b=c"))
        assert servers[0].requests[0].startswith(b"GET /base/a?b=c HTTP/1.1\r\n")


async def test_closing_fails_requests_in_progress() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    async with forwarding(script, timeout_s=20.0) as (gate, servers):
        asking = [asyncio.ensure_future(gate.send()) for _ in range(3)]
        await until(lambda: len(servers[0].requests) == 3)
        await gate.upstreams.close()
        assert {response.status for response in await asyncio.gather(*asking)} == {502}
