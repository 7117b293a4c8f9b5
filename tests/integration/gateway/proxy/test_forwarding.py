from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config.policies import Upstream
from gateway.http.message import BodyTooLarge, Response, StreamedResponse
from gateway.proxy.upstreams import NoTargetLeft
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
    """Notes what it is told."""

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


async def test_a_small_answer_comes_back_whole_with_the_fields_that_may_pass() -> None:
    answer = (
        b"HTTP/1.1 201 Created\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 11:00:00 GMT\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 5\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b'ETag:\t"1" \r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Request-Id: theirs\r\n\r\nhello'
    )
    async with forwarding(always(answer)) as (gate, servers):
        for _ in range(3):
            got = await gate.ask()
            assert not isinstance(got, StreamedResponse)
            assert (got.status, got.content_type, got.body) == (201, b"text/plain", b"hello")
            assert got.header_block == b'ETag: "1"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n'
        assert servers[0].connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200\r\ncontent-length:5\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
    ],
)
async def test_every_framing_of_a_body_is_read(answer: bytes) -> None:
    async with forwarding(once(answer)) as (gate, _):
        assert await gate.body_of() == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "1"\r\n\r\n',
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_answers_without_a_body_keep_the_connection(answer: bytes) -> None:
    async with forwarding(always(answer)) as (gate, servers):
        for _ in range(2):
            assert await gate.body_of() == b""
        assert servers[0].connections == 1


async def test_the_answer_to_head_has_the_length_of_what_get_would_get_and_no_body() -> None:
    async with forwarding(always(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")) as (gate, servers):
        for _ in range(2):
            answer = await gate.ask(request("HEAD"))
            assert isinstance(answer, StreamedResponse)
            assert answer.length == 500
            assert await whole(answer) == b""
        assert servers[0].connections == 1


async def test_the_answer_to_head_says_no_length_where_none_is_known() -> None:
    async with forwarding(always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")) as (gate, servers):
        for _ in range(2):
            answer = await gate.ask(request("HEAD"))
            assert isinstance(answer, StreamedResponse)
            assert answer.length is None
        assert servers[0].connections == 1


async def test_a_complete_body_goes_with_its_length() -> None:
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


async def test_a_body_that_still_comes_goes_in_chunks() -> None:
    asked = request("PUT", content_length="999", transfer_encoding="gzip")
    asked.stream = pieces(b"one", b"", b"three")
    async with forwarding(always(OK)) as (gate, servers):
        assert await gate.body_of(asked) == b"ok"
        head, _, body = servers[0].requests[0].partition(b"\r\n\r\n")
        assert body == b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"
        assert b"999" not in head
        assert b"gzip" not in head
        await until(lambda: gate.pool.targets[0].idle == 1)


async def test_what_goes_wrong_with_a_body_on_its_way_here_is_raised_and_the_upstream_cut_off() -> None:
    guard = RecordingGuard()

    async def script(peer: Peer) -> None:
        await peer.request()

    asked = request("POST")
    asked.stream = pieces(b"one", fault=BodyTooLarge())
    async with forwarding(script, guard=guard) as (gate, servers):
        with pytest.raises(BodyTooLarge):
            await gate.ask(asked)
        await until(lambda: servers[0].connections == 1 and servers[0].open == 0)
        assert servers[0].requests == []
        assert guard.told == ["abandoned"]
        assert gate.pool.targets[0].outstanding == 0


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
        asking = asyncio.ensure_future(gate.ask(asked))
        before = -1
        while before != sent or not sent:
            before = sent
            for _ in range(50):
                await asyncio.sleep(0)
        # What the kernel and the upstream hold, and no more.
        assert sent < 2**26
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        may_read.set()


async def test_an_upstream_that_never_reads_a_body_is_given_up() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    async def script(peer: Peer) -> None:
        await asyncio.Event().wait()

    asked = request("POST")
    asked.stream = endless()
    async with forwarding(script) as (gate, _):
        assert (await gate.ask(asked)).status == 504


async def test_an_answer_before_the_end_of_the_body_is_passed_on() -> None:
    never = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield b"one"
        await never.wait()

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"one\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        await peer.gone()

    asked = request("POST")
    asked.stream = stuck()
    async with forwarding(script) as (gate, servers):
        answer = await gate.ask(asked)
        assert (answer.status, answer.body) == (413, b"no!")
        await until(lambda: servers[0].open == 0)


async def test_both_ways_may_flow_at_the_same_time() -> None:
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
        answer = await gate.ask(asked)
        assert isinstance(answer, StreamedResponse)
        got = []
        async for piece in answer.chunks:
            got.append(piece)
            heard.put_nowait(piece)
        assert got == [b"ONE", b"TWO"]


async def test_websocket_is_refused_and_other_upgrades_are_passed_over() -> None:
    async with forwarding(always(OK)) as (gate, servers):
        refused = await gate.ask(request(connection="Upgrade", upgrade="websocket"))
        assert refused.status == 501
        assert b"WebSocket" in refused.body
        assert (
            await gate.body_of(request(connection="Upgrade, HTTP2-Settings", upgrade="h2c", http2_settings="x"))
            == b"ok"
        )
        assert b"h2c" not in servers[0].requests[0]


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "BREW", "get"])
async def test_methods_that_are_not_forwarded_are_refused(method: str) -> None:
    async with forwarding(always(OK)) as (gate, servers):
        assert (await gate.ask(request(method))).status == 501
        assert servers[0].connections == 0


async def test_what_could_be_read_in_two_ways_never_leaves() -> None:
    async with forwarding(always(OK)) as (gate, servers):
        for asked in (request(path="/a/../b"), request(path="/a%2fb"), request(x_one="1\r\nX-Two: 2")):
            assert (await gate.ask(asked)).status == 400
        assert servers[0].connections == 0


# The guard


@pytest.mark.parametrize(
    ("status", "told"),
    [(200, "succeeded"), (404, "succeeded"), (500, "succeeded"), (503, "failed: it answered 503")],
)
async def test_the_guard_hears_of_every_answer(status: int, told: str) -> None:
    guard = RecordingGuard()
    async with forwarding(always(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status), guard=guard) as (gate, _):
        assert (await gate.ask()).status == status
        assert guard.told == [told]


async def test_a_tripped_guard_is_answered_at_once() -> None:
    guard = RecordingGuard()
    guard.is_open = False
    async with forwarding(always(OK), guard=guard) as (gate, servers):
        answer = await gate.ask()
        assert answer.status == 503
        assert b"Retry-After" in answer.header_block
        assert servers[0].connections == 0
        assert guard.told == []


async def test_the_guard_hears_once_of_a_request_that_was_tried_several_times() -> None:
    guard = RecordingGuard()
    async with forwarding(unused_url(), guard=guard, retries=3) as (gate, _):
        assert (await gate.ask()).status == 502
        assert len(guard.told) == 1
        assert guard.told[0].startswith("failed: ")


async def test_a_shopper_in_a_hurry_holds_nothing_against_the_upstream() -> None:
    guard = RecordingGuard()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with forwarding(script, guard=guard, timeout_s=10.0, table={"failures_to_eject": 1}) as (gate, servers):
        for timeout_ms in ("1", "200"):
            assert (await gate.ask(request(request_timeout_ms=timeout_ms))).status == 504
        assert guard.told == ["abandoned", "abandoned"]
        assert gate.pool.targets[0].health.state == "in"
        await until(lambda: servers[0].requests)
        assert b"\r\nRequest-Timeout-Ms: 200\r\n" in servers[0].requests[-1]


async def test_one_who_leaves_takes_his_request_along() -> None:
    guard = RecordingGuard()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with forwarding(script, guard=guard, timeout_s=20.0) as (gate, servers):
        asking = asyncio.ensure_future(gate.ask())
        await until(lambda: servers[0].requests)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: servers[0].open == 0)
        assert guard.told == ["abandoned"]
        assert gate.pool.targets[0].outstanding == 0


async def test_a_handler_that_is_closed_while_it_waits_frees_its_connection() -> None:
    """As the server may do with one that it runs without a task."""
    guard = RecordingGuard()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

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
        assert gate.pool.targets[0].outstanding == 0


# Configuration that changes


async def test_targets_that_stay_keep_their_connections_and_others_are_let_go() -> None:
    async with forwarding(always(OK), always(OK)) as (gate, servers):
        for _ in range(20):
            await gate.ask()
        pool = gate.pool
        gate.upstreams.update([Upstream(name="shop", targets=(servers[0].url,))])
        assert gate.pool is pool
        await until(lambda: servers[1].open == 0)
        assert await gate.body_of() == b"ok"
        assert servers[0].connections == 1


async def test_requests_under_way_outlive_their_target() -> None:
    may_answer = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await may_answer.wait()
        await peer.send(OK)
        await peer.gone()

    async with forwarding(script, timeout_s=20.0) as (gate, servers):
        asking = asyncio.ensure_future(gate.ask())
        await until(lambda: servers[0].requests)
        gate.upstreams.update([])
        may_answer.set()
        assert (await asking).status == 200
        await until(lambda: servers[0].open == 0)


async def test_an_address_that_is_none_changes_nothing() -> None:
    async with forwarding(always(OK)) as (gate, _):
        with pytest.raises(ValueError, match="no address"):
            gate.upstreams.update([Upstream(name="shop", targets=("http://",))])
        assert await gate.body_of() == b"ok"


# What can be seen


async def test_readiness_and_numbers_tell_how_upstreams_are() -> None:
    async with forwarding(unused_url(), retries=0, table={"failures_to_eject": 2}) as (gate, _):
        await gate.upstreams.check()
        for _ in range(2):
            await gate.ask()
        with pytest.raises(NoTargetLeft, match="shop"):
            await gate.upstreams.check()
        seen: Any = gate.upstreams.snapshot()["shop"]
        assert seen["requests"] == {"not_reached": 2}
        assert seen["targets"][0]["state"] == "ejected"
        assert seen["targets"][0]["reason"]
        metrics = {metric.name: metric.samples for metric in gate.upstreams.metrics()}
        assert metrics["peakgate_upstream_requests_total"][0].value == 2
        assert metrics["peakgate_upstream_target_in"][0].value == 0


async def test_a_target_may_have_a_path_of_its_own() -> None:
    async with forwarding(always(OK)) as (gate, servers):
        gate.upstreams.update([Upstream(name="shop", targets=(servers[0].url + "/base/",))])
        await gate.ask(request(path="/a", query="b=c"))
        assert servers[0].requests[0].startswith(b"GET /base/a?b=c HTTP/1.1\r\n")


async def test_the_end_comes_while_requests_are_under_way() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with forwarding(script, timeout_s=20.0) as (gate, servers):
        asking = [asyncio.ensure_future(gate.ask()) for _ in range(3)]
        await until(lambda: len(servers[0].requests) == 3)
        await gate.upstreams.close()
        assert {answer.status for answer in await asyncio.gather(*asking)} == {502}
