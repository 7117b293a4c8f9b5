"""Header sections, targets and connections of every kind, honest or not."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest

from gateway.http.head_limits import MAX_FIELDS, MAX_HEAD_BYTES, MAX_LINE_BYTES
from tests.integration.gateway.small_server import HOST, chunked, get, post, small_server
from tests.raw_http import RawClient
from tests.waiting import WITHIN_S, until

BEGUN = b"GET /plain HTTP/1.1\r\nHost: shop\r\n"


async def refused_with(client: RawClient, status: int, problem: str) -> None:
    response = await client.response()
    assert response.status == status
    assert response.problem == problem
    assert response.closes
    await client.closed()


# Too large


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(get("/plain", "X: " + "x" * (MAX_LINE_BYTES + 1)), id="a-long-line"),
        pytest.param(get("/plain", "x" * (MAX_LINE_BYTES + 1) + ": x"), id="a-long-name"),
        pytest.param(get("/plain", *(f"X-{n}: y" for n in range(MAX_FIELDS))), id="many-lines"),
        pytest.param(get("/plain", *(f"X-{n}: {'y' * 8000}" for n in range(5))), id="a-few-long-lines"),
        pytest.param(get("/slow", *(f"X-{n}: {'y' * 8000}" for n in range(5))), id="a-few-long-lines-for-a-slow-one"),
    ],
)
@pytest.mark.parametrize("size", [1_000, 1_000_000])
async def test_a_header_section_too_large_is_refused(request_bytes: bytes, size: int) -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(*[request_bytes[at : at + size] for at in range(0, len(request_bytes), size)])
        await refused_with(client, 431, "headers-too-large")


async def test_a_header_section_that_never_ends_is_refused_while_it_comes() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(BEGUN)
        sent = 0
        while not client.reader._buffer:  # type: ignore[attr-defined]
            await client.send(b"X: " + b"y" * 500 + b"\r\n")
            sent += 505
            assert sent < 2 * MAX_HEAD_BYTES
        await refused_with(client, 431, "headers-too-large")


async def test_a_header_section_just_small_enough_is_served() -> None:
    async with small_server() as server, await server.client() as client:
        assert (
            await client.request(get("/plain", *(f"X-{n}: {'y' * 300}" for n in range(MAX_FIELDS - 1))))
        ).status == 200
        assert (await client.request(get("/about/" + "x" * (MAX_LINE_BYTES - 100)))).status == 200


# Too slow


@pytest.mark.parametrize("begun", [b"G", b"GET /plain HTTP/1.1\r\n", BEGUN, BEGUN + b"X: y"])
async def test_a_header_section_that_does_not_end_is_given_up(begun: bytes) -> None:
    async with small_server(receive_timeout_s=0.05) as server, await server.client() as client:
        await client.send(begun)
        await refused_with(client, 408, "request-timeout")


async def test_a_header_section_that_dribbles_is_given_up() -> None:
    async with small_server(receive_timeout_s=0.1) as server, await server.client() as client:
        await client.send(BEGUN)
        while not client.reader._buffer:  # type: ignore[attr-defined]
            await client.send(b"X")
            await asyncio.sleep(0.001)  # else a fast machine sends a section too large before the time is over
        await refused_with(client, 408, "request-timeout")


async def test_a_header_section_in_time_is_served_and_its_time_is_over_with_it() -> None:
    async with small_server(receive_timeout_s=30.0) as server, await server.client() as client:
        for _ in range(3):
            await client.send(*[bytes([byte]) for byte in BEGUN])
            assert (await client.request(b"\r\n", method="GET")).status == 200
        (connection,) = server.edge.connections
        connection.check(asyncio.get_running_loop().time() + 60)
        assert (await client.request(get("/plain"))).status == 200


async def test_a_request_begun_behind_a_whole_one_is_given_up_too() -> None:
    async with small_server(receive_timeout_s=0.05) as server, await server.client() as client:
        await client.send(get("/plain") + BEGUN)
        assert (await client.response()).status == 200
        await client.send(b"X: y\r\n")
        await refused_with(client, 408, "request-timeout")


async def test_the_problem_of_a_response_is_counted_for_its_route() -> None:
    async with small_server() as server, await server.client() as client:
        assert (await client.request(get("/nowhere"))).problem == "not-found"
        assert (await client.request(get("/plain"))).status == 200
        assert server.edge.router.find("GET", "/nowhere")[0].stats.by_problem == {"not-found": 1}
        assert server.edge.router.find("GET", "/plain")[0].stats.by_problem == {}


async def test_an_idle_connection_is_closed_after_a_while_without_a_word() -> None:
    async with small_server(keepalive_s=0.05) as server:
        async with await server.client() as client:
            await client.closed()
        async with await server.client() as client:
            assert (await client.request(get("/plain"))).status == 200
            await client.closed()
        async with await server.client() as client:
            server.gate.set()
            assert (await client.request(get("/slow"))).status == 200
            await client.closed()


@pytest.mark.parametrize("route", ["/wait", "/slow"])
async def test_a_connection_whose_answer_is_awaited_is_not_idle(route: str) -> None:
    async with small_server(keepalive_s=0.02) as server, await server.client() as client:
        await client.send(get(route))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await until(lambda: loop.time() - begun > 0.1)
        server.gate.set()
        assert (await client.response()).status == 200


@pytest.mark.parametrize("request_bytes", [get("/big") * 300, get("/big", "Connection: close")])
async def test_a_stalled_reader_is_cut_off(request_bytes: bytes) -> None:
    async with small_server(send_timeout_s=0.1) as server:
        with socket.socket() as stubborn:
            # So small that even one response does not fit.
            stubborn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            stubborn.connect(("127.0.0.1", server.port))
            await until(lambda: server.edge.connections)
            (connection,) = server.edge.connections
            sending = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
            sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            stubborn.sendall(request_bytes)
            await until(lambda: server.finished)
            await until(lambda: not server.edge.connections)
        async with await server.client() as client:
            assert (await client.request(get("/plain"))).status == 200


# Malformed


MALFORMED = {
    "nonsense": b"what is this\r\n\r\n",
    "nul": b"\0\0\0\0\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no version": b"GET /plain\r\n\r\n",
    "version 0.9": b"GET /plain HTTP/0.9\r\n" + HOST + b"\r\n",
    "a space in the target": b"GET /pl ain HTTP/1.1\r\n" + HOST + b"\r\n",
    "no target": b"GET  HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target that is no path": b"GET plain HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target without a host": b"GET http:///plain HTTP/1.1\r\n" + HOST + b"\r\n",
    "raw bytes in the target": b"GET /about/\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "raw utf-8 in the target": "GET /about/é HTTP/1.1\r\nHost: shop\r\n\r\n".encode(),
    "a method with a space before": b" GET /plain HTTP/1.1\r\n" + HOST + b"\r\n",
    "an unknown method": b"BREW /plain HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in lower case": b"get /plain HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": b"GET /plain HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /plain HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "a header without a colon": get("/plain", "no colon"),
    "a header without a name": get("/plain", ": x"),
    "a space before the colon": get("/plain", "X : y"),
    "a line that goes on below": get("/plain", "X: y", " z"),
    "nul in a header": get("/plain", "X: a\0b"),
    "a line end in a header": get("/plain", "X: a\rb"),
    "lines that end in lf": b"GET /plain HTTP/1.1\nHost: shop\n\n",
    "a length that is no number": get("/echo", "Content-Length: ten", method="POST"),
    "a length below zero": get("/echo", "Content-Length: -1", method="POST"),
    "a length with a plus": get("/echo", "Content-Length: +1", method="POST") + b"x",
    "a length beyond all": get("/echo", "Content-Length: 99999999999999999999", method="POST"),
    "two lengths": get("/echo", "Content-Length: 1", "Content-Length: 2", method="POST") + b"xx",
    "two lengths in one": get("/echo", "Content-Length: 1, 1", method="POST") + b"x",
    "length and chunks": get("/echo", "Content-Length: 3", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n",
    "chunks and length": get("/echo", "Transfer-Encoding: chunked", "Content-Length: 3", method="POST") + b"0\r\n\r\n",
    "chunks not last": get("/echo", "Transfer-Encoding: chunked, gzip", method="POST") + b"0\r\n\r\n",
    "an unknown transfer encoding": get("/echo", "Transfer-Encoding: rot13", method="POST") + b"x",
    "chunks in disguise": get("/echo", "Transfer-Encoding: xchunked", method="POST") + b"0\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("apart", [True, False])
async def test_bytes_that_are_not_http_are_rejected_and_the_connection_closed(
    request_bytes: bytes, apart: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(*([bytes([byte]) for byte in request_bytes] if apart else [request_bytes]))
        await refused_with(client, 400, "malformed-request")
        assert server.finished == []
    assert not caplog.records


TOLERATED = {
    "empty lines before": b"\r\n\r\n" + get("/plain"),
    "spaces around a value": get("/plain", "X:   y  "),
    "a header without a value": get("/plain", "X:"),
    "odd bytes in a value": b"GET /plain HTTP/1.1\r\nHost: shop\r\nX: \xff\xfe\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", TOLERATED.values(), ids=TOLERATED.keys())
async def test_unusual_http_is_served(request_bytes: bytes) -> None:
    async with small_server() as server, await server.client() as client:
        for _ in range(2):
            assert (await client.request(request_bytes, method="GET")).status == 200


async def test_a_large_amount_of_garbage_does_not_lose_the_refusal() -> None:
    async with small_server() as server, await server.client() as client:
        client.writer.write(b"\0garbage" * 500_000)
        assert (await client.response()).problem == "malformed-request"


# Targets


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        ("plain", "plain"),
        ("a%2Fb", "a/b"),
        ("%C3%A9t%C3%A9", "été"),
        ("%25", "%"),
        ("a+b", "a+b"),
        ("%20", " "),
    ],
)
async def test_a_variable_of_the_path_is_decoded(segment: str, name: str) -> None:
    async with small_server() as server, await server.client() as client:
        assert (await client.request(get(f"/about/{segment}"))).json()["params"] == [name]
        assert (await client.request(get(f"http://shop/about/{segment}"))).json()["params"] == [name]


@pytest.mark.parametrize("segment", ["%FF", "%C3", "%ED%A0%80", "a%2Fb%FF"])
async def test_a_variable_that_is_no_utf_8_leads_nowhere(segment: str) -> None:
    async with small_server() as server, await server.client() as client:
        assert (await client.request(get(f"/about/{segment}"))).problem == "not-found"


@pytest.mark.parametrize("target", ["/", "//", "//plain", "/plain/", "/PLAIN", "/about", "/about/", "/about/x/"])
async def test_targets_that_lead_nowhere(target: str) -> None:
    async with small_server() as server, await server.client() as client:
        assert (await client.request(get(target))).problem == "not-found"


@pytest.mark.parametrize("target", ["http://shop/plain?x=1", "https://SHOP/plain?x=1", "/plain?x=1"])
async def test_an_absolute_target_is_the_path_behind_its_host(target: str) -> None:
    async with small_server() as server, await server.client() as client:
        assert (await client.request(get(target))).status == 200
        assert server.finished == ["x=1"]


# Versions and connections


async def test_http_1_0_closes_without_keep_alive() -> None:
    async with small_server() as server:
        async with await server.client() as client:
            response = await client.request(b"GET /plain HTTP/1.0\r\n\r\n")
            assert response.status == 200
            await client.closed()
        async with await server.client() as client:
            for _ in range(2):
                response = await client.request(b"GET /plain HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert response["Connection"] == "keep-alive"


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_response_of_unknown_length_ends_with_the_connection_of_http_1_0(connection: str, method: str) -> None:
    async with small_server() as server, await server.client() as client:
        server.gate.set()
        await client.send(f"{method} /stream HTTP/1.0\r\nConnection: {connection}\r\n\r\n".encode() + get("/plain"))
        async with asyncio.timeout(WITHIN_S):
            head, _, body = (await client.reader.read()).partition(b"\r\n\r\n")
        assert body == (b"data: 1\n\ndata: 2\n\n" if method == "GET" else b"")
        assert b"\r\nConnection: close" in head
        assert b"Transfer-Encoding" not in head
        assert server.finished == []


@pytest.mark.parametrize("route", ["/plain", "/slow"])
async def test_connection_close_is_honoured(route: str) -> None:
    async with small_server() as server, await server.client() as client:
        server.gate.set()
        assert (await client.request(get(route, "Connection: close"))).closes
        await client.closed()


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "tea"])
async def test_an_upgrade_is_answered_as_if_it_had_not_been_asked_for(upgrade: str) -> None:
    async with small_server() as server, await server.client() as client:
        response = await client.request(get("/plain", "Connection: Upgrade", f"Upgrade: {upgrade}"))
        assert response.status == 200
        if not response.closes:
            assert (await client.request(get("/about/next"))).json()["params"] == ["next"]


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
@pytest.mark.parametrize("behind", [get("/about/behind"), post("/echo", b"behind")])
async def test_a_request_after_an_upgrade_is_served_or_the_connection_closed(upgrade: str, behind: bytes) -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/plain", "Connection: Upgrade", f"Upgrade: {upgrade}") + behind)
        response = await client.response()
        assert response.status == 200
        if response.closes:
            await client.closed()
        else:
            assert b"behind" in (await client.response()).body


async def test_connect_leads_nowhere() -> None:
    async with small_server() as server, await server.client() as client:
        response = await client.request(b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
        assert response.status in {400, 404, 405}


@pytest.mark.parametrize("route", ["/wait", "/slow"])
async def test_a_client_that_closes_during_its_request_leaves_no_state(
    route: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with small_server() as server:
        async with await server.client() as client:
            await client.send(get(route) + get("/plain"))
            await until(lambda: server.running)
            client.writer.transport.abort()
            await until(lambda: not server.edge.connections)
        server.gate.set()
        await until(lambda: not server.running)
        async with await server.client() as client:
            assert (await client.request(get("/plain"))).status == 200
        await until(lambda: len(server.edge.connections) == 0)
    assert not caplog.records


# Streams


async def test_a_stream_comes_piece_by_piece() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/stream"))
        assert (await client.reader.readuntil(b"data: 1\n\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        server.gate.set()
        assert await client.reader.readuntil(b"0\r\n\r\n") == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
        assert (await client.request(get("/plain"))).status == 200


async def test_the_head_of_a_stream_has_no_body() -> None:
    async with small_server() as server, await server.client() as client:
        response = await client.request(get("/stream", method="HEAD"))
        assert response["Content-Type"] == "text/event-stream"
        assert (await client.request(get("/plain"))).status == 200


async def test_a_stream_that_nobody_reads_any_more_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/endless-stream"))
        await until(lambda: server.running)
        client.writer.transport.abort()
        await until(lambda: not server.running)
    assert not caplog.records


async def test_a_stream_that_breaks_ends_with_the_connection_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/torn-stream"))
        await client.reader.readuntil(b"data: 1\n\n\r\n")
        server.gate.set()
        await client.closed()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_closing_a_stream_early_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(get("/stream"))
        await client.reader.readuntil(b"data: 1\n\n\r\n")
        client.writer.transport.abort()
        await until(lambda: not server.edge.connections)
        server.gate.set()
        await until(lambda: not server.edge.connections)
    assert not caplog.records


# Ids


@pytest.mark.parametrize("route", ["/plain", "/nowhere", "/slow", "/broken", "/slow-broken", "http://shop/plain"])
async def test_a_traceparent_names_the_request(route: str) -> None:
    async with small_server() as server, await server.client() as client:
        server.gate.set()
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        response = await client.request(get(route, f"traceparent: 00-{trace}-00f067aa0ba902b7-01"))
        assert response["X-Request-Id"] == trace


async def test_requests_without_one_have_ids_of_their_own() -> None:
    async with small_server() as server, await server.client() as client:
        ids = set()
        for sent in [
            get("/plain"),
            get("/nowhere"),
            get("http://shop/plain"),
            chunked("/echo"),
            get("/plain", method="PUT"),
        ] * 3:
            ids.add((await client.request(sent))["X-Request-Id"])
        assert len(ids) == 15


async def test_options_of_the_server_itself_are_answered() -> None:
    async with small_server() as server, await server.client() as client:
        await client.send(b"OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert (await client.response()).status == 204
