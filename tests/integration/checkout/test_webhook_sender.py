"""Sending webhooks over HTTP: which addresses are refused, and how little of an answer counts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from checkout.events.http_sender import (
    MAX_ANSWER_BYTES,
    AddressRefused,
    HttpSender,
    PublicResolver,
    is_public,
    open_http_sender,
)
from checkout.ports.webhooks import SendResult

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def receiver(handler: Handler) -> AsyncIterator[int]:
    """An HTTP server on this host; yields its port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    async with open_http_sender() as opened:
        yield opened


async def send(sender: HttpSender, url: str, *, allow_private: bool = True) -> SendResult:
    return await sender.send(url, {"webhook-id": "m1"}, b"{}", allow_private=allow_private)


async def test_the_body_and_the_headers_are_posted(sender: HttpSender) -> None:
    seen: list[tuple[str, str, str | None, bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, request.headers.get("webhook-id"), await request.read()))
        return web.Response(status=204)

    async with receiver(handler) as port:
        result = await send(sender, f"http://127.0.0.1:{port}/hook")
    assert seen == [("POST", "/hook", "m1", b"{}")]
    assert result == SendResult(status=204)
    assert result.is_delivered


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "100.100.100.200", "192.0.0.192", "224.0.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fc00::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
        "2002:a9fe:a9fe::1", "64:ff9b:1::1", "fec0::1", "nonsense", "",
    ],
)  # fmt: skip
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


async def refuse(_request: web.Request) -> web.Response:
    raise AssertionError("nothing may reach this host")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1", "0", "127。0。0。1"],
)
async def test_this_host_is_refused_in_every_spelling(sender: HttpSender, host: str) -> None:
    async with receiver(refuse) as port:
        result = await send(sender, f"http://{host}:{port}/", allow_private=False)
    assert result.status is None
    assert result.error is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "[fd00:ec2::254]"])
async def test_a_refusal_says_why(sender: HttpSender, host: str) -> None:
    assert (await send(sender, f"http://{host}/", allow_private=False)).error == "the address is not public"


class Fixed(AbstractResolver):
    """Answers with these addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            {"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("addresses", [("1.1.1.1", "127.0.0.1"), ("169.254.169.254", "1.1.1.1")])
async def test_a_name_with_one_address_inside_is_refused_as_a_whole(addresses: tuple[str, ...]) -> None:
    with pytest.raises(AddressRefused):
        await PublicResolver(Fixed(*addresses)).resolve("both.example", 443)
    assert await PublicResolver(Fixed("1.1.1.1")).resolve("public.example", 443)


class Rebinding(AbstractResolver):
    """Answers with a public address first, and with this host's from then on."""

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,
    ) -> list[ResolveResult]:
        self.asked += 1
        address = "1.1.1.1" if self.asked == 1 else "127.0.0.1"
        return [{"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


async def test_a_name_that_is_bound_to_another_address_meanwhile_reaches_nothing_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connected: list[str] = []

    async def start_connection(addr_infos: object, **_rest: object) -> socket.socket:
        connected.extend(info[4][0] for info in addr_infos)  # type: ignore[attr-defined]
        raise OSError("no connections in this test")

    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", start_connection)
    rebinding = Rebinding()
    async with open_http_sender(rebinding) as sender:
        assert (await send(sender, "http://rebind.example/", allow_private=False)).error is not None
        assert connected == ["1.1.1.1"], "the connection goes to the address that was checked"
    async with open_http_sender(rebinding) as sender:
        result = await send(sender, "http://rebind.example/", allow_private=False)
    assert result.error == "the address is not public"
    assert connected == ["1.1.1.1"]


async def test_a_redirect_is_a_failure_and_not_followed(sender: HttpSender) -> None:
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async with receiver(handler) as port:
        result = await send(sender, f"http://127.0.0.1:{port}/hook")
    assert paths == ["/hook"]
    assert not result.is_delivered
    assert result.error == "a redirect, which is not followed"


async def test_no_more_of_an_answer_is_read_than_a_bound(sender: HttpSender) -> None:
    written = 0
    is_cut = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 4096)
                written += 4096
        except ConnectionError:
            is_cut.set()
            raise

    async with receiver(handler) as port:
        result = await send(sender, f"http://127.0.0.1:{port}/")
        assert result.is_delivered
        await is_cut.wait()
    # The rest is in the buffers of the two sockets.
    assert MAX_ANSWER_BYTES <= written < 64 * 1024 * 1024


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("120", 120.0),
        ("Fri, 27 Nov 2026 06:10:00 GMT", 600.0),
        ("Fri, 27 Nov 2026 05:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 30, None),
    ],
)
async def test_retry_after_is_seconds_or_a_date(sender: HttpSender, retry_after: str, seconds: float | None) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": retry_after, "Date": "Fri, 27 Nov 2026 06:00:00 GMT"})

    async with receiver(handler) as port:
        result = await send(sender, f"http://127.0.0.1:{port}/")
    assert (result.status, result.retry_after_s) == (503, seconds)


async def test_a_receiver_that_is_away_is_a_result_without_its_words(sender: HttpSender) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        result = await send(sender, f"http://127.0.0.1:{port}/")
    assert result == SendResult(error="ClientConnectorError")


async def test_an_answer_that_is_not_http_is_a_result(sender: HttpSender) -> None:
    async def garble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"secret nonsense\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garble, "127.0.0.1", 0)
    async with server:
        result = await send(sender, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert result.status is None
    assert result.error is not None
    assert "nonsense" not in result.error
