"""What stands around a running shop in these tests: shoppers on kept connections or in crowds, and servers beside it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import aiohttp
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.harness.ports import free_port
from tests.e2e.running_shop import CATALOGUE, PATIENCE_S, UNSHED, Response, RunningShop, eventually

T = TypeVar("T")


@contextmanager
def open_shop(folder: Path, policies: str, *options: str, workers: int = 2) -> Iterator[RunningShop]:
    """A shop with the sample catalogue that goes by these policies, which are in `policies_of(shop)`."""
    shop = RunningShop(folder / "data")
    policies_of(shop).write_text(policies if "[shedding]" in policies else policies + UNSHED)
    shop.start(
        "--workers",
        str(workers),
        "--config",
        str(policies_of(shop)),
        "--catalog",
        str(CATALOGUE),
        *options,
    )
    try:
        yield shop
    finally:
        if shop.is_running:
            assert shop.stop() == 0, shop.log
    assert "Traceback" not in shop.log, shop.log


def policies_of(shop: RunningShop) -> Path:
    """The file that the shop reads again."""
    return shop.data_dir.with_name("peakgate.toml")


def reload(shop: RunningShop, policies: str) -> Response:
    """Have the shop go by other policies, as an operator does."""
    policies_of(shop).write_text(policies if "[shedding]" in policies else policies + UNSHED)
    reloaded = shop.admin("POST", "/admin/v1/reload")
    if reloaded.status == 200 and reloaded.body["lagging_workers"]:
        # A worker was too busy to say that it has them.
        eventually(lambda: part(shop, "policies"), lambda found: _all_have(reloaded.body["digest"], found))
    return reloaded


def _all_have(digest: str, found: list[Any]) -> bool:
    return bool(found) and all(policies["digest"] == digest for policies in found)


def part(shop: RunningShop, name: str) -> list[Any]:
    """One part of the status of every worker that responds."""
    workers = shop.admin("GET", "/admin/v1/status").body["workers"]
    return [worker["parts"][name] for worker in workers if worker.get("parts")]


def count(shop: RunningShop, sample: str, **labels: str) -> float:
    """What a scraper adds up: the samples of this name with these labels, over all workers."""
    families = text_string_to_metric_families(shop.admin("GET", "/metrics").body)
    return sum(
        each.value
        for family in families
        for each in family.samples
        if each.name == sample and labels.items() <= each.labels.items()
    )


class Page(NamedTuple):
    """A response as it came, header fields by lower-case name; several lines of one are joined."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


class Kept:
    """A shopper who stays on one connection, and so with one worker. A connection that is closed is not opened again."""

    def __init__(self, shop: RunningShop) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=PATIENCE_S)
        self._connection.connect()
        self._connection.auto_open = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_reason: object) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Page:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, named)
        response = self._connection.getresponse()
        fields: dict[str, str] = {}
        for name, value in response.getheaders():
            before = fields.get(name.lower())
            fields[name.lower()] = value if before is None else f"{before}, {value}"
        return Page(response.status, fields, response.read())

    def get(self, path: str, **headers: str) -> Page:
        return self.call("GET", path, None, **headers)


def crowd(shop: RunningShop, size: int, method: str, path: str, headers: Mapping[str, str] | None = None) -> list[Page]:
    """So many shoppers at once, each on a connection of his own."""

    async def ask(session: aiohttp.ClientSession) -> Page:
        asking = session.request(method, shop.url + path, headers=headers, skip_auto_headers=["Content-Type"])
        async with asking as response:
            fields = {name.lower(): value for name, value in response.headers.items()}
            return Page(response.status, fields, await response.read())

    async def ask_all() -> list[Page]:
        limits = aiohttp.ClientTimeout(total=PATIENCE_S)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=limits) as session:
            return await asyncio.gather(*(ask(session) for _ in range(size)))

    return asyncio.run(ask_all())


class Neighbour:
    """A server beside the shop, with a loop in a thread of its own. It can be stopped, and started again where it was."""

    def __init__(self, build: Callable[[], web.Application]) -> None:
        self._build = build
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._runner: web.AppRunner | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *_reason: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self) -> None:
        self._do(self._start())

    def stop(self) -> None:
        self._do(self._stop())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _start(self) -> None:
        self._runner = web.AppRunner(self._build(), access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()

    async def _stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()


async def told(event: threading.Event) -> None:
    """Wait, in the loop of a neighbour, for what a test sets."""
    for _ in range(int(PATIENCE_S / 0.005)):
        if event.is_set():
            return
        await asyncio.sleep(0.005)


def restarted(shop: RunningShop, workers: list[int]) -> None:
    """Wait until none of these workers is left and as many others serve."""
    eventually(shop.worker_pids, lambda pids: len(pids) == len(workers) and not set(pids) & set(workers))
    eventually(lambda: part(shop, "requests"), lambda found: len(found) == len(workers))
