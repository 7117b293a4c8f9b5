"""The routes of the console: the page, its files, its stream, and the runbooks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final

import orjson
from aiohttp import web

from gateway.admin.console.history import STEP_S
from gateway.admin.console.plots import PLOTS
from gateway.admin.console.runbooks import runbook
from gateway.admin.console.sampler import Sampler, TooManyWatchers
from gateway.admin.responses import HEADERS, Problem

_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# The page runs its own files only, and talks to this listener only.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PAGE_HEADERS: Final = {**HEADERS, "Content-Security-Policy": _POLICY}
_STREAM_HEADERS: Final = {**HEADERS, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
# A watcher that takes no byte for so long is gone; the page connects again by itself.
_SEND_TIMEOUT_S: Final = 20.0
_RETRY_MS: Final = 2000


class ConsoleRoutes:
    """The console on the admin listener. `version` is that of the gateway.

    A stream ends with the session of its reader, once `may_read` is false.
    """

    def __init__(self, sampler: Sampler, *, version: str, may_read: Callable[[web.Request], bool]) -> None:
        self._may_read = may_read
        self._sampler = sampler
        self._version = version

    def routes(self) -> Sequence[web.RouteDef]:
        """Its rows of the route table."""
        return (
            web.get("/", self._page),
            web.get("/console/history", self._history),
            web.get("/console/stream", self._stream),
            web.get("/console/runbooks/{name}", self._runbook),
            web.get("/console/{file}", self._file),
        )

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=_text("index.html"), content_type="text/html", headers=PAGE_HEADERS)

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        kind = _TYPES.get(name[name.rfind(".") :])
        if kind is None or name not in _names():
            raise web.HTTPNotFound
        return web.Response(text=_text(name), content_type=kind, headers=PAGE_HEADERS)

    async def _runbook(self, request: web.Request) -> web.Response:
        found = runbook(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        title, html = found
        page = _text("runbook.html").replace("{title}", title).replace("{runbook}", html)
        return web.Response(text=page, content_type="text/html", headers=PAGE_HEADERS)

    async def _history(self, _request: web.Request) -> web.Response:
        """The plots and all that is remembered; the stream goes on from there."""
        history = self._sampler.history
        body = {
            "version": self._version,
            "step_s": STEP_S,
            "plots": [
                {
                    "name": plot.name,
                    "title": plot.title,
                    "unit": plot.unit,
                    "meaning": plot.meaning,
                    "runbook": plot.runbook,
                    "detail": plot.detail,
                }
                for plot in PLOTS
            ],
            "times": history.times,
            "lines": history.lines(),
            "latest": self._sampler.latest,
        }
        return web.Response(body=orjson.dumps(body), content_type="application/json", headers=PAGE_HEADERS)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Each sample as a server-sent event, from the latest one on. Raises `Problem`."""
        watch = self._sampler.watch()
        try:
            sample = await anext(watch)
        except TooManyWatchers as error:
            raise Problem(
                503, "too-many-watchers", "Too many watchers", detail="Close a page of the console."
            ) from error
        response = web.StreamResponse(headers=_STREAM_HEADERS)
        await response.prepare(request)
        try:
            await _send(response, b"retry: %d\n\n" % _RETRY_MS)
            while self._may_read(request):
                await _send(response, _event(sample))
                sample = await anext(watch)
            return response
        except (ConnectionError, TimeoutError):
            return response
        finally:
            await watch.aclose()


async def _send(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(_SEND_TIMEOUT_S):
        await response.write(data)


def _event(sample: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(sample) + b"\n\n"


@cache
def _names() -> frozenset[str]:
    return frozenset(each.name for each in resources.files(__package__).joinpath("page").iterdir())


@cache
def _text(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")
