"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.harness.gateway_process import HarnessError

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
# Generous: a loaded machine starts a browser slowly.
PATIENCE_S: Final = 60.0


class Page:
    """One page. `errors` are those of its scripts, and its console's."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.errors: list[str] = []
        self._numbers = itertools.count(1)

    async def listen(self) -> None:
        """Take replies and events until the browser ends."""
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._replies.pop(told["id"]).set_result(told)
            elif told["method"] == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(told["params"]["exceptionDetails"]))
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.errors.append(told["params"]["entry"]["text"])

    async def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """The result of a command."""
        number = next(self._numbers)
        self._replies[number] = asyncio.get_running_loop().create_future()
        reply = self._replies[number]
        await self._socket.send_json({"id": number, "method": method, "params": arguments})
        async with asyncio.timeout(PATIENCE_S):
            told = await reply
        if "error" in told:
            raise HarnessError(f"{method} failed: {told['error']}")
        result: dict[str, Any] = told["result"]
        return result

    async def open(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        """Load a page; all its requests have these header fields."""
        if headers:
            await self.call("Network.enable")
            await self.call("Network.setExtraHTTPHeaders", headers=dict(headers))
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        result = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise HarnessError(f"{script} failed: {result['exceptionDetails']}")
        return result["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression is true."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self._is_true(script):  # noqa: ASYNC110 - the page has no event for it
                await asyncio.sleep(0.05)

    async def _is_true(self, script: str) -> bool:
        # The page may be another one meanwhile, in which the expression fails.
        result = await self.call("Runtime.evaluate", expression=f"Boolean({script})", returnByValue=True)
        return "exceptionDetails" not in result and bool(result["result"]["value"])

    async def press(self, key: str, code: int) -> None:
        """Press a key, such as Tab (9) or Enter (13)."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    async def heap_bytes(self) -> float:
        """The memory of the page's scripts after a collection."""
        await self.call("Performance.enable")
        await self.call("HeapProfiler.collectGarbage")
        metrics = (await self.call("Performance.getMetrics"))["metrics"]
        return float(next(each["value"] for each in metrics if each["name"] == "JSHeapUsedSize"))

    async def screenshot(self, path: Path, *, width: int, height: int, dark: bool = False) -> None:
        """Write a picture of the page in a window of this size, as PNG."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=scheme)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        picture = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(picture["data"]))


@asynccontextmanager
async def browser_page(*, width: int = 1280, height: int = 900) -> AsyncIterator[Page]:
    """A page of a new browser, which ends with it. Raises HarnessError where there is none."""
    if CHROMIUM is None:
        raise HarnessError("no Chromium here; Debian has it in the package chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--remote-debugging-port=0",
            f"--window-size={width},{height}",
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            port = await _port_of(Path(profile))
            async with aiohttp.ClientSession() as client:
                async with client.get(f"http://127.0.0.1:{port}/json") as listed:
                    target = next(each for each in await listed.json() if each["type"] == "page")
                async with client.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    page = Page(socket)
                    listening = asyncio.create_task(page.listen())
                    for domain in ("Page", "Runtime", "Log"):
                        await page.call(f"{domain}.enable")
                    yield page
                    await socket.close()
                    await listening
        finally:
            process.kill()
            await process.wait()


async def _port_of(profile: Path) -> int:
    """The port of the protocol, which the browser writes into its profile."""
    file = profile / "DevToolsActivePort"
    async with asyncio.timeout(PATIENCE_S):
        while not (lines := await asyncio.to_thread(_lines, file)):  # noqa: ASYNC110 - there is no other sign
            await asyncio.sleep(0.05)
    return int(lines[0])


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
