"""Whatever bytes come: responses that are HTTP, or a closed connection, in bounded time. Never a 500, a hang or a traceback."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from itertools import pairwise

import pytest
import uvloop
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.integration.gateway.small_server import Small, chunked, get, post, small_server
from tests.raw_http import RawClient, RawResponse
from tests.waiting import WITHIN_S

SOUND = [
    get("/plain"),
    get("/about/a%2Fb?x=1", "Accept: */*"),
    get("/hop", "Connection: close"),
    get("http://shop/plain"),
    get("/nowhere"),
    post("/echo", b'{"a":[1,2,3]}', "Content-Type: application/json"),
    post("/small", b"x" * 30),
    post("/slow-echo", b"slow"),
    post("/echo", b"x", "Expect: 100-continue"),
    post("/echo", b"x" * 3_000),
    chunked("/echo", b"one", b"two", trailers=b"Digest: x\r\n"),
    chunked("/slow-echo", b"one", b"two"),
    get("/plain", "Connection: Upgrade", "Upgrade: websocket"),
    b"GET /plain HTTP/1.0\r\n\r\n",
]
TOKENS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"/",
    b"?",
    b"#",
    b"%",
    b"%00",
    b"%FF",
    b"\xff",
    b"HTTP/1.1",
    b"HTTP/0.9",
    b"HTTP/9.9",
    b"GET ",
    b"OPTIONS * ",
    b"CONNECT ",
    b"http://",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Host: x\r\n",
    b"X" * 9_000,
    b"Upgrade: h2c\r\n",
    b"traceparent: 00-\r\n",
    b"-1",
    b"99999999999",
]
POSSIBLE = {100, 200, 400, 404, 405, 408, 413, 414, 415, 417, 431, 501, 505}


@dataclass(frozen=True)
class Change:
    """Something done to a request: at `where` (a fraction of its length) `dropped` bytes go and `put` comes."""

    where: float
    dropped: int
    put: bytes

    def of(self, sent: bytes) -> bytes:
        at = int(self.where * len(sent))
        return sent[:at] + self.put + sent[at + self.dropped :]


@dataclass(frozen=True)
class Stream:
    """What one client sends."""

    requests: tuple[bytes, ...]
    changes: tuple[Change, ...]
    cuts: tuple[float, ...]

    def pieces(self) -> list[bytes]:
        sent = b"".join(self.requests)
        for change in self.changes:
            sent = change.of(sent)
        places = [0, *sorted(int(cut * len(sent)) for cut in self.cuts), len(sent)]
        return [sent[begin:end] for begin, end in pairwise(places) if end > begin]


fractions = st.floats(0, 1)
changes = st.builds(
    Change, where=fractions, dropped=st.integers(0, 6), put=st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8))
)
streams = st.builds(
    Stream,
    requests=st.lists(st.sampled_from(SOUND), min_size=1, max_size=3).map(tuple),
    changes=st.lists(changes, max_size=3).map(tuple),
    cuts=st.lists(fractions, max_size=2).map(tuple),
)


async def outcome(server: Small, stream: Stream) -> None:
    """Send it and read to the end, which must come."""
    client: RawClient
    async with await server.client() as client:
        try:
            await client.send(*stream.pieces())
            while True:
                response = await client.response()
                check(response)
        except (EOFError, ConnectionError):
            return


def check(response: RawResponse) -> None:
    if response.status == 100:
        return
    assert response.status in POSSIBLE
    assert "X-Request-Id" in response
    if response.status >= 400 and response.body:
        assert response.problem


@settings(
    max_examples=25, phases=[Phase.explicit, Phase.generate], deadline=None, suppress_health_check=list(HealthCheck)
)
@given(crowd=st.lists(streams, min_size=20, max_size=40))
def test_a_crowd_of_broken_clients_breaks_nothing(crowd: list[Stream]) -> None:
    noise: list[object] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            noise.append(record.getMessage())

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: noise.append(context))
        async with small_server(keepalive_s=0.05, receive_timeout_s=0.05) as server:
            async with asyncio.timeout(WITHIN_S):
                await asyncio.gather(*(outcome(server, stream) for stream in crowd))
            async with await server.client() as client:
                assert (await client.request(get("/plain"))).status == 200

    listening = Listening(logging.WARNING)
    logging.getLogger().addHandler(listening)
    try:
        uvloop.run(play())
    finally:
        logging.getLogger().removeHandler(listening)
    assert not noise


@pytest.mark.parametrize("token", TOKENS)
async def test_a_token_in_every_place_of_a_request(token: bytes) -> None:
    sound = post("/echo", b"abc", "Accept: text/html") + get("/plain")
    crowd = [Stream((sound,), (Change(at / len(sound), 0, token),), ()) for at in range(0, len(sound), 3)]
    async with small_server(keepalive_s=0.05, receive_timeout_s=0.05) as server:
        await asyncio.gather(*(outcome(server, stream) for stream in crowd))
