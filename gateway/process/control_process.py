"""The control process: serves the admin API and sends new policies to the workers.

It is a process of its own, so that it responds while the workers are overloaded.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Final

import uvloop
from aiohttp import web

from gateway.admin.acts.audit_log import AuditLog
from gateway.admin.acts.manual import ManualSettings
from gateway.admin.admin import Admin
from gateway.admin.background_stats import BackgroundStats
from gateway.admin.console.sampler import Sampler
from gateway.admin.emf import EmfLines
from gateway.admin.recent_traces import RecentTraces
from gateway.admin.reloader import Reloader, settings_of_start
from gateway.admin.sign_in.oidc_file import read_oidc_file
from gateway.admin.status import Status
from gateway.admin.trace_export import TraceExport
from gateway.admin.workers import Workers
from gateway.build import VERSION
from gateway.config.file import read_text
from gateway.control.runtime_directory import ControlSettings, RuntimeDirectory
from gateway.policies.event_log import EventLog
from gateway.policies.moved_events import MovedEvent, with_moved_events
from gateway.process.child import Reports
from gateway.process.heartbeat import start_heartbeat
from primitives.background import BackgroundTasks

_log = logging.getLogger("peakgate")

# How often lagging workers are looked for.
STEP_S: Final = 2.0
# How often settings made by hand are looked at, which may have expired.
SETTINGS_STEP_S: Final = 1.0
_SHUTDOWN_S: Final = 1.0


def run_control(
    console: ControlSettings,
    runtime: RuntimeDirectory,
    listener: socket.socket | None,
    reports: Reports,
) -> None:
    """Serve until SIGTERM, reload at SIGHUP. Without a listener there is no admin API."""
    parent = os.getppid()
    uvloop.run(_serve(console, runtime, listener, reports, parent))
    if os.getppid() != parent:
        # The supervisor was killed and could not remove its folder.
        runtime.remove()


async def _serve(
    console: ControlSettings,
    runtime: RuntimeDirectory,
    listener: socket.socket | None,
    reports: Reports,
    parent: int,
) -> None:
    loop = asyncio.get_running_loop()
    start_heartbeat(reports.beat)
    stop_requested, reload_requested = asyncio.Event(), asyncio.Event()
    workers = Workers(runtime)
    started_with = settings_of_start(read_text(console.started_with))
    tasks = BackgroundTasks()
    reloader = Reloader(console.config_path, workers, runtime, started_with=started_with)
    loop.add_signal_handler(signal.SIGTERM, stop_requested.set)
    loop.add_signal_handler(signal.SIGHUP, reload_requested.set)
    async with AsyncExitStack() as stack:
        recent_traces = RecentTraces()
        export = _trace_export(console, workers, runtime, recent_traces)
        if export is not None:
            stack.push_async_callback(export.close)
            stack.push_async_callback(tasks.start("traces", export.run).close)
        status = Status(
            workers,
            runtime,
            reloader,
            version=VERSION,
            background=BackgroundStats(tasks),
            own_parts={} if export is None else {"traces": export},
        )
        if console.emf:
            lines = EmfLines(status, console.role, partial(os.write, sys.stdout.fileno()))
            stack.push_async_callback(tasks.start("metrics for CloudWatch", lines.run).close)
        if listener is not None:
            sampler = Sampler(status)
            stack.push_async_callback(tasks.start("console", sampler.run).close)
            admin = Admin(
                status,
                workers,
                runtime,
                console.token,
                _replacing(parent),
                sampler,
                expose_metrics=console.expose_metrics,
                metrics_token=console.metrics_token,
                viewer_token=console.viewer_token,
                oidc=None if console.oidc_file is None else read_oidc_file(console.oidc_file),
                audit_log=AuditLog(console.audit_log),
                recent_traces=recent_traces,
            )
            stack.push_async_callback(tasks.start("manual settings", partial(_follow_settings, admin.settings)).close)
            await _listen(admin.application(), listener, stack)
        for name, run in (
            ("reloads", partial(_reload_on_request, reloader, reload_requested)),
            ("lagging workers", partial(_update_lagging_workers, reloader)),
            ("events", partial(_log_events, reloader, runtime)),
        ):
            stack.push_async_callback(tasks.start(name, run).close)
        reports.ready()
        await stop_requested.wait()


def _trace_export(
    console: ControlSettings, workers: Workers, runtime: RuntimeDirectory, recent: RecentTraces
) -> TraceExport | None:
    if console.otlp_endpoint is None:
        return None
    # Imported here, because only a gateway that traces needs it.
    from gateway.admin.otlp import OtlpExporter

    exporter = OtlpExporter(console.otlp_endpoint, version=VERSION)
    return TraceExport(workers, exporter, recent, left=runtime.take_left_traces)


def _replacing(parent: int) -> Callable[[], None]:
    def replace_workers() -> None:
        # An orphan's parent is another process.
        if os.getppid() == parent:
            os.kill(parent, signal.SIGUSR1)

    return replace_workers


async def _listen(application: web.Application, listener: socket.socket, stack: AsyncExitStack) -> None:
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listener).start()


async def _reload_on_request(reloader: Reloader, requested: asyncio.Event) -> None:
    while True:
        await requested.wait()
        _log.info("reloading the configuration file, as SIGHUP requests")
        # Several signals before the reload starts cause one reload.
        requested.clear()
        await _safely(reloader.reload)


async def _update_lagging_workers(reloader: Reloader) -> None:
    while True:
        await asyncio.sleep(STEP_S)
        await _safely(reloader.update_lagging_workers)


async def _follow_settings(settings: ManualSettings) -> None:
    while True:
        await asyncio.sleep(SETTINGS_STEP_S)
        await _safely(settings.withdraw_expired)
        await _safely(settings.update_lagging_workers)


async def _log_events(reloader: Reloader, runtime: RuntimeDirectory) -> None:
    events = EventLog()
    while True:
        by_hand = runtime.manual_settings.get("event", {})
        moved = {name: MovedEvent(**setting.values) for name, setting in by_hand.items()}
        events.update(with_moved_events(reloader.active.policies, moved), datetime.now(UTC))
        await asyncio.sleep(STEP_S)


async def _safely(work: Callable[[], Awaitable[object]]) -> None:
    """Log an exception instead of raising it."""
    try:
        await work()
    except Exception:  # noqa: BLE001 - the next attempt may succeed
        _log.exception("the control process failed at %s; it tries again", getattr(work, "__name__", work))
