"""The console's page, files, runbooks, history and stream."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from gateway.admin.admin import Admin
from gateway.admin.console.sampler import MAX_WATCHERS, Sampler
from gateway.admin.reloader import Reloader
from gateway.admin.status import Status
from gateway.admin.workers import Workers
from gateway.control.runtime_directory import RuntimeDirectory
from tests.unit.gateway.admin.small_workers import Fleet
from tests.waiting import until

TOKEN = {"Authorization": "Bearer a-token-of-the-tests"}


class Console:
    def __init__(self, client: TestClient[Any, Any], sampler: Sampler, status: Status) -> None:
        self.client = client
        self.sampler = sampler
        self._status = status

    async def look(self) -> None:
        """A sample of this moment."""
        self._status.forget()
        await self.sampler.look()

    async def get(self, path: str, **headers: str) -> tuple[ClientResponse, str]:
        async with self.client.get(path, headers=headers or TOKEN) as response:
            return response, await response.text()

    async def stream(self, stack: AsyncExitStack) -> ClientResponse:
        return await stack.enter_async_context(self.client.get("/console/stream", headers=TOKEN))


@pytest.fixture
async def console(file: Path, workers: Workers, runtime: RuntimeDirectory, fleet: Fleet) -> AsyncIterator[Console]:
    status = Status(workers, runtime, Reloader(file, workers, runtime, started_with={}), version="1.2.3")
    sampler = Sampler(status)
    admin = Admin(status, workers, runtime, "a-token-of-the-tests", lambda: None, sampler)
    for name in ("0a", "1a"):
        await fleet.start(name)
    async with TestClient(TestServer(admin.application())) as client:
        yield Console(client, sampler, status)


async def event(response: ClientResponse) -> Any:
    """The next event that has data."""
    while True:
        line = await response.content.readline()
        assert line, "the stream has ended"
        if line.startswith(b"data: "):
            return orjson.loads(line[6:])


@pytest.mark.parametrize(
    "path", ["/", "/console/console.js", "/console/history", "/console/stream", "/console/runbooks/overload"]
)
async def test_nobody_sees_the_console_without_the_token(console: Console, path: str) -> None:
    response, _ = await console.get(path, Accept="*/*")
    assert response.status == 401


async def test_the_page_loads_its_own_files_only_and_all_of_them_are_there(console: Console) -> None:
    page, text = await console.get("/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    files = re.findall(r'(?:src|href)="(/console/[a-z.]+)"', text)
    assert len(files) >= 2
    for file in files:
        response, content = await console.get(file)
        assert response.status == 200, file
        for imported in re.findall(r'from "\./([a-z]+\.js)"', content):
            assert (await console.get(f"/console/{imported}"))[0].status == 200, imported
    assert "http://" not in text
    assert "https://" not in text


@pytest.mark.parametrize("name", ["index.htm", "..%2f..%2fadmin.py", "__init__.py", "nothing.js"])
async def test_other_files_are_not_served(console: Console, name: str) -> None:
    assert (await console.get(f"/console/{name}"))[0].status == 404


async def test_a_runbook_is_a_page_whose_links_stay_in_the_console(console: Console) -> None:
    response, text = await console.get("/console/runbooks/overload")
    assert response.status == 200
    assert "<h1>Load is shed</h1>" in text
    _, index = await console.get("/console/runbooks/index")
    assert 'href="/console/runbooks/store-away"' in index
    assert ".md" not in "".join(re.findall(r'href="([^"]*)"', index + text))


@pytest.mark.parametrize("name", ["nothing", "..%2F..%2Fadmin", "README", "x" * 300])
async def test_a_runbook_that_does_not_exist_is_not_found(console: Console, name: str) -> None:
    assert (await console.get(f"/console/runbooks/{name}"))[0].status == 404


async def test_history_and_stream_have_the_same_samples(console: Console) -> None:
    await console.look()
    history = orjson.loads((await console.get("/console/history"))[1])
    async with AsyncExitStack() as stack:
        stream = await console.stream(stack)
        first = await event(stream)
        assert first["at"] == history["times"][-1] == history["latest"]["at"]
        assert first["headline"]["text"]
        await console.look()
        second = await event(stream)
    assert second["at"] > first["at"]
    assert {each["name"] for each in second["workers"]} == {"0a", "1a"}


async def test_a_stream_before_the_first_look_waits_for_it(console: Console) -> None:
    async with AsyncExitStack() as stack:
        opening = asyncio.create_task(console.stream(stack))
        await until(lambda: console.sampler.watchers == 1)
        await console.look()
        assert (await event(await opening))["headline"]["level"] in {"well", "note", "alarm"}


async def test_no_more_pages_watch_than_may_and_one_that_leaves_makes_room(console: Console) -> None:
    await console.look()
    async with AsyncExitStack() as stack:
        streams = [await console.stream(stack) for _ in range(MAX_WATCHERS)]
        refused, text = await console.get("/console/stream")
        assert (refused.status, orjson.loads(text)["type"]) == (503, "/problems/too-many-watchers")
        streams[0].close()
        # The server notices at its next write.
        for _ in range(3):
            await console.look()
        await until(lambda: console.sampler.watchers < MAX_WATCHERS)
    await console.look()


async def test_workers_that_do_not_respond_are_an_alarm(console: Console, fleet: Fleet) -> None:
    for name in ("0a", "1a"):
        await fleet.stop(name)
    await console.look()
    assert console.sampler.latest is not None
    assert console.sampler.latest["headline"]["level"] == "alarm"


async def test_the_first_look_waits_for_the_workers_to_start(console: Console, runtime: RuntimeDirectory) -> None:
    ready = list(runtime.children)
    runtime.children = [replace(child, state="starting") for child in ready]
    running = asyncio.create_task(console.sampler.run())
    try:
        await asyncio.sleep(0)
        assert console.sampler.latest is None
        runtime.children = ready
        await until(lambda: console.sampler.latest is not None)
    finally:
        running.cancel()
