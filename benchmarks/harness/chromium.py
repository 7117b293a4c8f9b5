"""A headless Chromium, driven over its DevTools protocol."""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.harness.gateway_process import HarnessError

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_START_S = 60.0


class Page:
    """One page. Errors of its scripts are collected in `errors`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.errors: list[str] = []
        self._socket = socket
        self._ids = count(1)
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())

    async def send(self, method: str, **parameters: Any) -> Any:
        """The result of a method of the protocol."""
        number = next(self._ids)
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(_START_S):
            return await reply

    async def open(self, url: str, headers: Mapping[str, str]) -> None:
        """Load a page; all its requests have these header fields."""
        for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
            await self.send(f"{domain}.enable")
        await self.send("Network.setExtraHTTPHeaders", headers=dict(headers))
        await self.send("Page.navigate", url=url)

    async def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        return (await self.send("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get("value")

    async def heap_bytes(self) -> float:
        """The memory of the page's scripts after a collection."""
        await self.send("HeapProfiler.collectGarbage")
        metrics = (await self.send("Performance.getMetrics"))["metrics"]
        return float(next(each["value"] for each in metrics if each["name"] == "JSHeapUsedSize"))

    async def screenshot(self, path: Path, *, width: int, height: int, dark: bool = False) -> None:
        """A picture of the page in a window of this size."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.send("Emulation.setEmulatedMedia", features=scheme)
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        picture = await self.send("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(picture["data"]))

    async def close(self) -> None:
        """Read no more."""
        self._reader.cancel()
        await self._socket.close()

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                if waiting := self._replies.pop(told["id"], None):
                    waiting.set_result(told.get("result"))
            elif told["method"] == "Runtime.exceptionThrown":
                self.errors.append(told["params"]["exceptionDetails"]["text"])
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.errors.append(told["params"]["entry"]["text"])


@asynccontextmanager
async def chromium() -> AsyncIterator[Page]:
    """A browser with an empty page. Raises HarnessError where there is none."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        raise HarnessError("no Chromium here; Debian has it in the package chromium")
    with tempfile.TemporaryDirectory(prefix="peakgate-chromium-", ignore_cleanup_errors=True) as profile:
        options = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
        )
        browser = await asyncio.create_subprocess_exec(
            program, *options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            port = await _port(Path(profile, "DevToolsActivePort"))
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as response:
                    targets = await response.json(content_type=None)
                address = next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page")
                page = Page(await session.ws_connect(address, max_msg_size=0))
                try:
                    yield page
                finally:
                    await page.close()
        finally:
            browser.terminate()
            await browser.wait()


async def _port(file: Path) -> int:
    async with asyncio.timeout(_START_S):
        while not (await asyncio.to_thread(file.exists) and (text := await asyncio.to_thread(file.read_text))):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return int(text.splitlines()[0])
