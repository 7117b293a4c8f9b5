"""The control process: the admin API, and the one that hands new policies to the workers.

It is a process of its own, so that it answers when the workers have no time for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Final

import uvloop
from aiohttp import web

from gateway.admin.admin import Admin
from gateway.admin.reloading import Reloader
from gateway.admin.status import Status
from gateway.admin.workers import Workers
from gateway.config.file import read_text
from gateway.control.runtime_directory import Console, RuntimeDirectory

_log = logging.getLogger("peakgate")

# How often late-comers are looked for.
STEP_S: Final = 2.0
_SHUTDOWN_S: Final = 1.0


def run_control(
    console: Console, runtime: RuntimeDirectory, listener: socket.socket | None, say_ready: Callable[[], None]
) -> None:
    """Serve until SIGTERM, reload at SIGHUP. Without a listener there is no admin API."""
    parent = os.getppid()
    uvloop.run(_serve(console, runtime, listener, say_ready, parent))
    if os.getppid() != parent:
        # It was killed, and cannot remove its folder any more.
        runtime.remove()


async def _serve(
    console: Console,
    runtime: RuntimeDirectory,
    listener: socket.socket | None,
    say_ready: Callable[[], None],
    parent: int,
) -> None:
    loop = asyncio.get_running_loop()
    told_to_stop, told_to_reload = asyncio.Event(), asyncio.Event()
    workers = Workers(runtime)
    started_with = read_text(console.started_with).settings
    reloader = Reloader(console.config_path, workers, runtime, started_with=started_with)
    loop.add_signal_handler(signal.SIGTERM, told_to_stop.set)
    loop.add_signal_handler(signal.SIGHUP, told_to_reload.set)
    async with AsyncExitStack() as stack:
        if listener is not None:
            status = Status(workers, runtime, reloader, version=version("peakgate"))
            admin = Admin(status, workers, runtime, console.token, _replacing(parent), console.expose_metrics)
            await _listen(admin.application(), listener, stack)
        for work in (_reload_when_told(reloader, told_to_reload), _keep_in_step(reloader)):
            task = asyncio.create_task(work)
            stack.callback(task.cancel)
        say_ready()
        await told_to_stop.wait()


def _replacing(parent: int) -> Callable[[], None]:
    def replace_workers() -> None:
        # Without a parent, whoever adopts orphans is none of ours.
        if os.getppid() == parent:
            os.kill(parent, signal.SIGUSR1)

    return replace_workers


async def _listen(application: web.Application, listener: socket.socket, stack: AsyncExitStack) -> None:
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listener).start()


async def _reload_when_told(reloader: Reloader, told: asyncio.Event) -> None:
    while True:
        await told.wait()
        # Several signals before it begins are one wish.
        told.clear()
        await _safely(reloader.reload)


async def _keep_in_step(reloader: Reloader) -> None:
    while True:
        await asyncio.sleep(STEP_S)
        await _safely(reloader.keep_in_step)


async def _safely(work: Callable[[], Awaitable[object]]) -> None:
    """What goes wrong once must not end it for good."""
    try:
        await work()
    except Exception:  # noqa: BLE001 - see above
        _log.exception("the control process failed at something; it goes on")
