"""A gateway as `peakgate serve` composes it, with every layer of its policies, in front of an upstream with a script."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import compose
from gateway.config.policies import AccessLog, Forward, Policies, Upstream
from gateway.prerequisites import StoreAddress
from gateway.settings import Settings
from tests.integration.gateway.proxy.raw_upstream import RawUpstream, Script
from tests.integration.gateway.small_server import get
from tests.waiting import WITHIN_S

PREFIX = "/s/"


@dataclass(frozen=True)
class Received:
    """A response byte by byte: header lines are in their order and may repeat."""

    status: int
    lines: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def all(self, name: str) -> list[bytes]:
        """The values of all lines of a field."""
        return [value for key, value in self.lines if key.lower() == name.lower().encode()]

    def __getitem__(self, name: str) -> bytes:
        """The value of a field that has exactly one line."""
        found = self.all(name)
        assert len(found) == 1, f"{len(found)} lines of {name}: {self.lines}"
        return found[0]

    def members(self, name: str) -> set[str]:
        """The members of a list in one line, each of them once, in lower case."""
        found = [member.strip().lower() for member in self[name].decode().split(",")]
        assert len(found) == len(set(found)), f"a repeated member: {found}"
        return set(found)


class WholeGateway:
    """A gateway that listens on a loopback port, and its upstream behind the prefix `/s/`."""

    def __init__(self, gateway: compose.Gateway, port: int, upstream: RawUpstream, policies: Policies) -> None:
        self.policies = policies
        self.edge = gateway.edge
        self.commands = gateway.commands
        self.prepare = gateway.prepare
        self.port = port
        self.upstream = upstream

    async def get(self, path: str, *headers: str, method: str = "GET", version: str = "1.1") -> Received:
        """Send a request without a body on a connection of its own."""
        return await self.send(
            get(path, "Connection: close", *headers, method=method).replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1)
        )

    async def send(self, data: bytes) -> Received:
        """Send these bytes, which ask to close the connection, and read all that comes."""
        async with asyncio.timeout(WITHIN_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(data)
            received = await reader.read()
            writer.close()
        head, _, body = received.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        fields = [line.partition(b": ") for line in lines]
        return Received(int(status.split(b" ")[1]), tuple((name, value) for name, _, value in fields), body)

    def sent(self, name: str, index: int = -1) -> list[bytes]:
        """The values of a field in a request that the upstream got, the last one."""
        head = self.upstream.requests[index].partition(b"\r\n\r\n")[0]
        return re.findall(rb"(?im)^%b: ([^\r]*)" % re.escape(name.encode()), head)


@asynccontextmanager
async def whole_gateway(
    store_url: str,
    folder: Path,
    script: Script,
    *,
    route: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    **policies: Any,
) -> AsyncIterator[WholeGateway]:
    """A gateway whose prefix `/s/` is forwarded, under `route`, to an upstream with this script; `options` are further settings."""
    upstream = RawUpstream(script)
    await upstream.start()
    tables = Policies(
        upstreams=(Upstream(name="shop", targets=(upstream.url,)),),
        routes=(Forward(prefix=PREFIX, upstream="shop", **(route or {})),),
        access_log=AccessLog(enabled=False),
        **policies,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(upstream.stop)
        settings = Settings(
            data_dir=folder, policies=tables, workers=1, store_timeout=5.0, low_stock=5, **(options or {})
        )
        address = StoreAddress(store_url, is_embedded=False)
        gateway = await compose.gateway(settings, address, stack, worker_name="shop:0a")
        server = await asyncio.get_running_loop().create_server(gateway.edge.protocol, "127.0.0.1", 0)
        stack.push_async_callback(gateway.edge.drain, 0.0)
        stack.callback(server.close)
        yield WholeGateway(gateway, server.sockets[0].getsockname()[1], upstream, tables)
