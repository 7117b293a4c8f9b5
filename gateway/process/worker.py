"""A worker process: serves a listening socket until SIGTERM, then drains."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

import msgspec
import uvloop

from gateway import compose, prerequisites
from gateway.cache.host_memory import HostRegion
from gateway.config.file import ConfigError, read_text
from gateway.control.commands import Command, CommandFailed, serve_commands, snapshot_of
from gateway.control.runtime_directory import RuntimeDirectory
from gateway.control.shared_outage import SharedOutage
from gateway.policies.reload import PolicyReload
from gateway.process.child import UNREADY_SIGNAL, Reports
from gateway.process.heartbeat import start_heartbeat
from gateway.process.process_stats import ProcessStats
from gateway.server.listeners import BACKLOG
from gateway.settings import Settings
from primitives.tracing.tracer import MAX_WAITING

_log = logging.getLogger("peakgate")

# Allocations before a garbage collection; CPython's default of 700 is too eager for short requests.
GC_THRESHOLDS: Final = (50_000, 20, 20)


def run_worker(
    settings: Settings,
    store: prerequisites.StoreAddress,
    runtime: RuntimeDirectory,
    listener: socket.socket,
    host_region: HostRegion | None,
    *,
    name: str,
    gateway_name: str,
    reports: Reports,
) -> None:
    """Serve until SIGTERM, then finish the requests in progress. From `UNREADY_SIGNAL` on it is not ready.

    `name` tells this worker from its siblings, `gateway_name` its gateway from others on the same store. It goes by the
    policies of the runtime directory, which may be newer than those of `settings`.
    """
    try:
        uvloop.run(
            _serve(
                settings,
                store,
                runtime,
                listener,
                host_region,
                name=name,
                gateway_name=gateway_name,
                reports=reports,
            )
        )
    except (prerequisites.CannotStart, ConfigError) as error:
        _log.error("worker %s cannot start: %s", name, error)
        raise SystemExit(1) from error


async def _serve(
    settings: Settings,
    store: prerequisites.StoreAddress,
    runtime: RuntimeDirectory,
    listener: socket.socket,
    host_region: HostRegion | None,
    *,
    name: str,
    gateway_name: str,
    reports: Reports,
) -> None:
    loop = asyncio.get_running_loop()
    stop_requested = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop_requested.set)
    start_heartbeat(reports.beat)
    config = read_text(runtime.policies)
    settings = replace(settings, policies=config.policies, config_text=config.text)
    policies = PolicyReload(config)
    async with AsyncExitStack() as stack:
        gateway = await compose.gateway(
            settings,
            store,
            stack,
            worker_name=f"{gateway_name}:{name}",
            host_region=host_region,
            store_outage=SharedOutage(runtime.store_outage, name),
        )
        policies.on_reload(gateway.prepare)
        commands = {
            "vitals": snapshot_of({"process": ProcessStats(gateway.edge), "policies": policies}),
            **policies.commands,
            **gateway.commands,
        }
        async with serve_commands(runtime.socket_of(name), commands):
            await _catch_up(runtime, policies, commands)
            server = await loop.create_server(gateway.edge.protocol, sock=listener, backlog=BACKLOG)
            # Objects of the start live as long as the process, so the collector need not traverse them.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            loop.add_signal_handler(UNREADY_SIGNAL, gateway.edge.leave)
            reports.ready()
            await stop_requested.wait()
            server.close()
            await gateway.edge.drain(settings.drain_timeout)
            await gateway.prepare_close()
    await _leave_traces(runtime, name, commands)


async def _leave_traces(runtime: RuntimeDirectory, name: str, commands: Mapping[str, Command]) -> None:
    """Leave the traces of the drain, whose orders ended after the last fetch, to the control process."""
    if "traces" not in commands:
        return
    try:
        traces = await commands["traces"]({"max_spans": MAX_WAITING})
        if traces:
            runtime.leave_traces(name, msgspec.json.encode(traces))
    except OSError as error:
        _log.warning("the last traces of worker %s are lost: %s", name, error)


async def _catch_up(runtime: RuntimeDirectory, policies: PolicyReload, commands: Mapping[str, Command]) -> None:
    """Take changes made while this worker started; later ones reach its control socket."""
    try:
        await policies.take(runtime.policies)
    except CommandFailed as why:
        _log.error("this worker cannot use the active policies: %s", why)
    for kind, settings in runtime.manual_settings.items():
        for name, setting in settings.items():
            try:
                await commands[kind]({"name": name, **setting.values})
            except CommandFailed as why:
                _log.warning("the setting of the %s %s by hand is not applied: %s", kind, name, why)
