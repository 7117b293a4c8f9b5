"""One worker process: an event loop that serves a listening socket until it is told to stop, then drains."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

import uvloop

from gateway import compose, prerequisites
from gateway.config.file import ConfigError, read_text
from gateway.control.commands import Command, Refused, serve_commands, snapshot_of
from gateway.control.runtime_directory import RuntimeDirectory
from gateway.policies.reload import PolicyReload
from gateway.process.process_stats import ProcessFacts
from gateway.server.listeners import BACKLOG
from gateway.settings import Settings

_log = logging.getLogger("peakgate")

# Allocations before a collection; CPython's own 700 suits programs that are not made of short requests.
GC_THRESHOLDS: Final = (50_000, 20, 20)


def run_worker(
    settings: Settings,
    store: prerequisites.StoreAddress,
    runtime: RuntimeDirectory,
    listener: socket.socket,
    *,
    name: str,
    place: str,
    say_ready: Callable[[], None],
) -> None:
    """Serve until SIGTERM, then finish what runs.

    `name` tells this worker from its siblings, `place` its gateway from others on the same store. It goes by the
    policies of the runtime directory, which may be newer than those of `settings`.
    """
    try:
        uvloop.run(_serve(settings, store, runtime, listener, name=name, place=place, say_ready=say_ready))
    except (prerequisites.CannotStart, ConfigError) as error:
        _log.error("worker %s cannot start: %s", name, error)
        raise SystemExit(1) from error


async def _serve(
    settings: Settings,
    store: prerequisites.StoreAddress,
    runtime: RuntimeDirectory,
    listener: socket.socket,
    *,
    name: str,
    place: str,
    say_ready: Callable[[], None],
) -> None:
    loop = asyncio.get_running_loop()
    told_to_stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told_to_stop.set)
    config = read_text(runtime.policies)
    settings = replace(settings, policies=config.policies, config_text=config.text)
    policies = PolicyReload(config)
    async with AsyncExitStack() as stack:
        gateway = await compose.gateway(settings, store, stack, worker_name=f"{place}:{name}")
        policies.on_reload(gateway.prepare)
        commands = {
            "vitals": snapshot_of({"process": ProcessFacts(gateway.edge), "policies": policies}),
            **policies.commands,
            **gateway.commands,
        }
        async with serve_commands(runtime.socket_of(name), commands):
            await _catch_up(runtime, policies, commands)
            server = await loop.create_server(gateway.edge, sock=listener, backlog=BACKLOG)
            # What exists now stays, and requests leave no cycles: the collector need not walk all of it all the time.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            say_ready()
            await told_to_stop.wait()
            server.close()
            await gateway.edge.drain(settings.drain_timeout)


async def _catch_up(runtime: RuntimeDirectory, policies: PolicyReload, commands: Mapping[str, Command]) -> None:
    """Take what was decided while this worker started. From here on it is told, as its socket is open."""
    try:
        await policies.take(runtime.policies)
    except Refused as why:
        _log.error("policies that others go by are not taken here: %s", why)
    for switch, turned in runtime.turned.items():
        try:
            await commands["switch"]({"name": switch, **turned})
        except Refused as why:
            _log.warning("switch %s, turned by hand, is left as it is written: %s", switch, why)
