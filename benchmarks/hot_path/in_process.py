"""A gateway in one process without sockets, for counting its instructions with callgrind.

`python -m benchmarks.hot_path.in_process gateway --config FILE --data-dir DIR --store-url URL` composes a worker; with
`empty` it is the empty aiohttp handler instead. It prints `ready`, then executes one JSON `Command` from each line of its
input: it prepares the requests, or sends those that were prepared, and prints the number of responses with another status.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec
import uvloop
from aiohttp import web

from benchmarks.load.wrk import TRACE_ID, read_requests
from benchmarks.peers.empty_app import empty_app
from gateway import compose
from gateway.prerequisites import StoreAddress
from gateway.process.worker import GC_THRESHOLDS
from gateway.settings import load

CONNECTIONS: Final = 16
READY: Final = "ready"
ProtocolFactory = Callable[[], asyncio.Protocol]


class Command(msgspec.Struct, frozen=True):
    """Prepare `count` requests from the files, one for each group of calls; without files, send them and expect `status`."""

    files: Sequence[str] = ()
    count: int = 0
    status: int = 200


class _Transport(asyncio.Transport):
    """Counts responses, taking each write of a status line for one; the responses of the benchmark are single writes."""

    def __init__(self, batch: _Batch) -> None:
        super().__init__()
        self._batch = batch

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The address of the trusted proxy."""
        return ("127.0.0.1", 40000) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Count a response."""
        self._batch.received(bytes(data[9:12]))

    def writelines(self, list_of_data: Any) -> None:
        """Count a response."""
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        """Never."""
        return False

    def get_write_buffer_size(self) -> int:
        """Nothing is buffered."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def pause_reading(self) -> None:
        """Requests are only sent when there are no others on the connection."""

    def resume_reading(self) -> None:
        """Reading is never paused."""

    def close(self) -> None:
        """The connection is used to the end of the process."""

    def abort(self) -> None:
        """The connection is used to the end of the process."""


class _Batch:
    """The requests that are in flight together, one on each connection."""

    def __init__(self) -> None:
        self.wrong = 0
        self._status = b"200"
        self._in_flight = 0
        self._done: asyncio.Future[None] | None = None

    def received(self, status: bytes) -> None:
        self.wrong += status != self._status
        self._in_flight -= 1
        if not self._in_flight and self._done is not None:
            self._done.set_result(None)

    async def send(self, protocols: Sequence[asyncio.Protocol], requests: Sequence[bytes], status: bytes) -> None:
        """Send a request on each connection and wait for the responses."""
        self._status, self._in_flight, self._done = status, len(requests), None
        for protocol, request in zip(protocols, requests, strict=False):
            protocol.data_received(request)
        if self._in_flight:
            self._done = asyncio.get_running_loop().create_future()
            await self._done


class Requests:
    """Prepared requests, each with another trace ID."""

    def __init__(self) -> None:
        self._traces = 0

    def prepare(self, groups: Sequence[Sequence[bytes]], count: int) -> list[list[bytes]]:
        """Batches with one request for each connection. Calls of one group alternate; several have connections of their own."""
        batches = []
        for turn in range(count // CONNECTIONS):
            batch = []
            for number in range(CONNECTIONS):
                if len(groups) == 1:
                    request = groups[0][(turn * CONNECTIONS + number) % len(groups[0])]
                else:
                    group = groups[number % len(groups)]
                    request = group[turn % len(group)]
                self._traces += 1
                batch.append(request.replace(TRACE_ID.encode(), b"Root=1-00000000-%024x" % self._traces))
            batches.append(batch)
        return batches


async def _execute_commands(protocol: ProtocolFactory) -> None:
    batch, requests = _Batch(), Requests()
    protocols = [protocol() for _ in range(CONNECTIONS)]
    for each in protocols:
        each.connection_made(_Transport(batch))
    batches: list[list[bytes]] = []
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    print(READY, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = msgspec.json.decode(line, type=Command)
        batch.wrong = 0
        if command.files:
            batches = requests.prepare([read_requests(file) for file in command.files], command.count)
        else:
            for each_batch in batches:
                await batch.send(protocols, each_batch, b"%d" % command.status)
        print(batch.wrong, flush=True)


async def _run(args: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        if args.server == "empty":
            runner = web.AppRunner(empty_app(), access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            server = runner.server
            assert server is not None
            await _execute_commands(server)
            return
        flags = {"role": "edge", "config": args.config, "data_dir": args.data_dir, "store_url": args.store_url}
        store = StoreAddress(args.store_url, is_embedded=False)
        gateway = await compose.gateway(load(flags, {}), store, stack, worker_name="bench:0")
        await _execute_commands(gateway.edge.protocol)


def main() -> None:
    """Execute the commands of standard input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hot_path.in_process")
    parser.add_argument("server", choices=("gateway", "empty"))
    for option in ("--config", "--data-dir", "--store-url"):
        parser.add_argument(option)
    uvloop.run(_run(parser.parse_args()))
    sys.stdout.flush()
    # Threads that wait for input must not delay the end.
    os._exit(0)


if __name__ == "__main__":
    main()
