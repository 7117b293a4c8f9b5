"""One worker process: an event loop that serves a listening socket until it is told to stop, then drains."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import uvloop

from gateway import compose
from gateway.server.listeners import BACKLOG
from gateway.settings import Settings

_log = logging.getLogger("peakgate")

# Allocations before a collection; CPython's own 700 suits programs that are not made of short requests.
GC_THRESHOLDS: Final = (50_000, 20, 20)


def run_worker(
    settings: Settings, store: compose.StoreAddress, listener: socket.socket, name: str, say_ready: Callable[[], None]
) -> None:
    """Serve until SIGTERM, then finish what runs. `name` tells this worker from its siblings."""
    try:
        uvloop.run(_serve(settings, store, listener, name, say_ready))
    except compose.CannotStart as error:
        _log.error("worker %s cannot start: %s", name, error)
        raise SystemExit(1) from error


async def _serve(
    settings: Settings, store: compose.StoreAddress, listener: socket.socket, name: str, say_ready: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()
    told_to_stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told_to_stop.set)
    async with AsyncExitStack() as stack:
        gateway = await compose.gateway(settings, store, stack, worker_name=name)
        server = await loop.create_server(gateway.edge, sock=listener, backlog=BACKLOG)
        # What exists now stays, and requests leave no cycles: the collector need not walk all of it all the time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        say_ready()
        await told_to_stop.wait()
        server.close()
        await gateway.edge.drain(settings.drain_timeout)
