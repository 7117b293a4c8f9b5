"""Opening a connection: the handshake by redis-py, its errors, and secrets that are not shown."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection, Connection, UnixDomainSocketConnection, parse_url

from store import Client, StoreError, StoreUnavailable, handshake, open_client
from store.client import CONNECT_TIMEOUT_S, OPEN_S
from store.embedded import EmbeddedServer
from store.errors import Reason
from tests.waiting import WITHIN_S

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OPENSSL = shutil.which("openssl")


@asynccontextmanager
async def listening(conversation: Conversation, **options: Any) -> AsyncIterator[int]:
    """A server on a loopback port that holds this conversation with everyone."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await conversation(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def saying(reply: bytes) -> Conversation:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(reply)
        await reader.read()

    return say


async def refusal_of(url: str, **options: Any) -> str:
    """Why a connection cannot be had; it must fit on one line."""
    client = Client(url, **options)
    with pytest.raises((StoreUnavailable, ValueError)) as caught:
        await client.connect()
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


async def test_redis_py_has_the_private_attributes_that_detaching_its_socket_needs(own_server: EmbeddedServer) -> None:
    assert parse_url(own_server.url)["connection_class"] is UnixDomainSocketConnection
    connection = UnixDomainSocketConnection(path=own_server.url.removeprefix("unix://"), protocol=3)
    await connection.connect()  # type: ignore[no-untyped-call]
    reader, writer = connection._reader, connection._writer
    assert isinstance(reader, asyncio.StreamReader), "redis-py has moved Connection._reader: mend store/handshake.py"
    assert isinstance(writer, asyncio.StreamWriter), "redis-py has moved Connection._writer: mend store/handshake.py"
    connection._reader = connection._writer = None
    assert not connection.is_connected, "redis-py holds on to a socket that was taken from it: mend store/handshake.py"
    await connection.disconnect()
    assert not writer.is_closing(), "redis-py closes a socket that was taken from it: mend store/handshake.py"
    writer.close()
    await writer.wait_closed()
    assert Connection(host="a", port=1)._connection_arguments() == {"host": "a", "port": 1}, (
        "redis-py connects with other arguments now: mend store/handshake.py"
    )
    known = inspect.signature(AbstractConnection).parameters
    assert {*handshake._OURS, "retry"} <= set(known), "redis-py takes other options now: mend store/handshake.py"


async def test_a_connection_speaks_resp3_in_the_database_that_the_address_names(own_server: EmbeddedServer) -> None:
    client = await open_client(f"{own_server.url}?db=3", deadline_s=WITHIN_S)
    await client.execute("HSET", "hash", "field", "value")
    assert await client.execute("HGETALL", "hash") == {b"field": b"value"}
    elsewhere = await open_client(own_server.url, deadline_s=WITHIN_S)
    assert await elsewhere.execute("EXISTS", "hash") == 0
    await elsewhere.close()
    await client.close()


async def test_the_password_is_sent_and_a_wrong_one_is_a_one_line_error(own_server: EmbeddedServer) -> None:
    client = await open_client(own_server.url, deadline_s=WITHIN_S)
    await client.execute("CONFIG", "SET", "requirepass", "sesame/#?")
    await client.close()
    signed_in = await open_client(f"{own_server.url}?password=sesame%2F%23%3F", deadline_s=WITHIN_S)
    assert await signed_in.execute("PING") == b"PONG"
    await signed_in.close()
    wrong = await refusal_of(f"{own_server.url}?password=wrong-word")
    assert "password" in wrong
    assert "wrong-word" not in wrong
    assert "authenticate" in await refusal_of(own_server.url)


async def test_a_user_is_signed_in_with_name_and_password(own_server: EmbeddedServer) -> None:
    client = await open_client(own_server.url, deadline_s=WITHIN_S)
    await client.execute("ACL", "SETUSER", "till", "on", ">penny", "~*", "+@all")
    await client.close()
    signed_in = await open_client(f"{own_server.url}?username=till&password=penny", deadline_s=WITHIN_S)
    assert await signed_in.execute("ACL", "WHOAMI") == b"till"
    await signed_in.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://127.0.0.1:1", "127.0.0.1:1"),
        ("unix:///nowhere/valkey.sock", "/nowhere/valkey.sock"),
        ("unix://", "names no socket"),
        ("redis://127.0.0.1:99999", "Port out of range"),
        ("redis://127.0.0.1:6379/orders", "number of a database"),
        ("redis://127.0.0.1:6379?colour=red&size=2", "colour, size"),
        ("redis://127.0.0.1:6379?socket_timeout=soon", "socket_timeout"),
        ("http://127.0.0.1", "redis://, rediss://, unix://"),
        ("redis://[::1", "IPv6"),
    ],
)
async def test_an_unreachable_address_is_a_one_line_error(url: str, message: str) -> None:
    assert message in await refusal_of(url)


async def test_a_password_that_makes_the_address_invalid_is_not_shown() -> None:
    text = await refusal_of("redis://:sesame/street@127.0.0.1:6379")
    assert "sesame" not in text
    assert "percent-encoded" in text


async def test_the_address_does_not_choose_the_protocol(own_server: EmbeddedServer) -> None:
    client = await open_client(f"{own_server.url}?protocol=2", deadline_s=WITHIN_S)
    assert await client.execute("HGETALL", "nothing") == {}
    await client.close()


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02", id="tls-alert"),
        pytest.param(b"*-4\r\n", id="impossible-length"),
        pytest.param(b"-ERR unknown command 'HELLO'\r\n", id="too-old"),
        pytest.param(b"-LOADING Redis is loading the dataset in memory\r\n", id="loading"),
        pytest.param(b"-ERR max number of clients reached\r\n", id="full"),
        pytest.param(b"-DENIED Redis is running\r\nin protected mode\r\n", id="two-lines"),
    ],
)
async def test_a_rejected_handshake_is_a_one_line_error(reply: bytes) -> None:
    async with listening(saying(reply)) as port:
        text = await refusal_of(f"redis://127.0.0.1:{port}", connect_timeout_s=2.0)
    assert text.startswith("cannot connect to the store: ")


async def test_a_server_that_closes_during_the_handshake_is_unavailable() -> None:
    async def hang_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(10)

    async with listening(hang_up) as port:
        assert "closed" in await refusal_of(f"redis://127.0.0.1:{port}")


async def test_a_name_without_an_address_is_unavailable() -> None:
    assert "no address of nowhere.invalid" in await refusal_of("redis://nowhere.invalid:6379", connect_timeout_s=20.0)


@pytest.mark.parametrize("role", ["replica", "slave", "sentinel"])
async def test_a_server_that_is_no_primary_is_refused(role: str) -> None:
    hello = f"%1\r\n$4\r\nrole\r\n+{role}\r\n".encode()
    async with listening(saying(b"%1\r\n+proto\r\n:3\r\n+OK\r\n+OK\r\n" + hello)) as port:
        assert f"is a {role}, not a primary" in await refusal_of(f"redis://127.0.0.1:{port}", connect_timeout_s=2.0)


async def test_a_silent_server_is_unavailable_after_the_timeout() -> None:
    async def say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(say_nothing) as port:
        assert "no answer in time" in await refusal_of(f"redis://127.0.0.1:{port}", connect_timeout_s=0.05)


async def test_the_first_connection_has_more_time_than_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    async def refuse(_url: str, timeout_s: float) -> asyncio.StreamWriter:
        given.append(timeout_s)
        raise StoreUnavailable("refused", reason=Reason.UNREACHABLE)

    monkeypatch.setattr("store.client.handshake.open_stream", refuse)
    with pytest.raises(StoreUnavailable):
        await open_client("redis://127.0.0.1:1")
    with pytest.raises(StoreUnavailable):
        await Client("redis://127.0.0.1:1").connect()
    assert given == [OPEN_S, CONNECT_TIMEOUT_S]


async def test_a_connection_attempt_that_is_cancelled_leaves_no_socket_behind() -> None:
    hung_up = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        started.set()
        await reader.read()
        hung_up.set()

    started = asyncio.Event()
    async with listening(say_nothing) as port:
        attempt = asyncio.create_task(Client(f"redis://127.0.0.1:{port}", connect_timeout_s=60).connect())
        await started.wait()
        attempt.cancel()
        async with asyncio.timeout(WITHIN_S):
            await hung_up.wait()
        with pytest.raises(asyncio.CancelledError):
            await attempt


@pytest.mark.skipif(OPENSSL is None, reason="needs openssl to make a certificate")
async def test_tls_is_used_with_a_server_whose_certificate_is_trusted(tmp_path: Path) -> None:
    assert OPENSSL is not None
    subprocess.run(  # noqa: ASYNC221
        [
            OPENSSL,
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            str(tmp_path / "key.pem"),
            "-out",
            str(tmp_path / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line.upper() == b"HELLO\r\n":
                writer.write(b"%1\r\n$5\r\nproto\r\n:3\r\n")
            elif line.upper() == b"SETINFO\r\n":
                writer.write(b"+OK\r\n")
            elif line.upper() == b"PING\r\n":
                writer.write(b"+PONG\r\n")

    async with listening(converse, ssl=context) as port:
        trusting = await open_client(f"rediss://localhost:{port}?ssl_ca_certs={tmp_path / 'cert.pem'}", deadline_s=5.0)
        assert await asyncio.gather(*(trusting.execute("PING") for _ in range(3))) == [b"PONG"] * 3
        await trusting.close()
        with pytest.raises(StoreError, match=r"certificate"):
            await open_client(f"rediss://localhost:{port}")
        # The certificate is for the name of the store, whichever address the name leads to.
        with pytest.raises(StoreError, match=r"certificate"):
            await open_client(f"rediss://127.0.0.1:{port}?ssl_ca_certs={tmp_path / 'cert.pem'}")
