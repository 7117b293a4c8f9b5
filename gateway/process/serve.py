"""`peakgate serve` from the parent's side: store, catalogue, sockets, workers; and everything down again."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final

from cart.catalog.files import CatalogFileError
from cart.catalog.importer import import_once
from cart.catalog.ports import ImportBusy, SearchUnavailable
from gateway import compose, prerequisites
from gateway.admin.admin_token import TokenUnusable, read_or_make
from gateway.config.file import NAME
from gateway.control.runtime_directory import CONTROL, ChildState, Console, RuntimeDirectory, runtime_directory
from gateway.process.supervisor import Service, Supervisor
from gateway.process.worker import run_worker
from gateway.server.listeners import CannotListen, open_listeners
from gateway.settings import Settings
from store import StoreError
from store.embedded import EmbeddedServer, EmbeddedServerError, store_url

_log = logging.getLogger("peakgate")


class CannotServe(Exception):
    """The gateway could not be started; the text says why."""


# What is wrong outside, and says so in words for its owner.
_FAULTS: Final = (
    *(CannotListen, EmbeddedServerError, TokenUnusable, prerequisites.CannotStart),
    *(CatalogFileError, ImportBusy, SearchUnavailable, StoreError),
)


def run(settings: Settings, *, say: Callable[[str], None]) -> bool:
    """Serve until told to stop. False if a process could not be started. Raises `CannotServe`."""
    with ExitStack() as stack:
        # One that comes while we start is heeded when there is somebody to heed it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        try:
            listeners = _listen(stack, settings.host, settings.port, settings.workers, option="--port")
            control = _control_listener(settings, stack)
            embedded = _embedded(settings, stack)
            prerequisites.check_data_dir(settings.data_dir)
            store = prerequisites.StoreAddress(settings.store_url or store_url(settings.data_dir), embedded is not None)
            runtime = _runtime(settings, stack)
            asyncio.run(_prepare(settings, store))
            token = read_or_make(settings.admin_token_path) if control is not None else ""
        except _FAULTS as error:
            raise CannotServe(str(error)) from error
        url = _url(listeners[0])
        about = f"API at {url}/docs"
        if control is not None:
            about += f"; admin at {_url(control)}, token in {settings.admin_token_path}"
        return Supervisor(
            [*_workers(settings, store, runtime, listeners), _control(settings, token, runtime, control)],
            on_ready=lambda: say(f"ready on {url} ({about})"),
            on_change=lambda children: _tell(runtime, children),
            dependency=embedded,
            drain_timeout_s=settings.drain_timeout,
        ).run()


def _listen(stack: ExitStack, host: str, port: int, count: int, *, option: str) -> list[socket.socket]:
    listeners = open_listeners(host, port, count, option=option)
    for listener in listeners:
        stack.callback(listener.close)
    return listeners


def _control_listener(settings: Settings, stack: ExitStack) -> socket.socket | None:
    if not settings.admin:
        return None
    return _listen(stack, settings.admin_host, settings.admin_port, 1, option="--admin-port")[0]


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _runtime(settings: Settings, stack: ExitStack) -> RuntimeDirectory:
    try:
        runtime = stack.enter_context(runtime_directory())
        runtime.policies = settings.config_text
    except OSError as error:
        raise prerequisites.CannotStart(f"cannot make a folder for sockets: {error}") from error
    return runtime


def _workers(
    settings: Settings, store: prerequisites.StoreAddress, runtime: RuntimeDirectory, listeners: Sequence[socket.socket]
) -> Sequence[Service]:
    # Other servers may work on the same store, on this machine or another, and take their orders under other names.
    place = f"{socket.gethostname()}:{listeners[0].getsockname()[1]}"

    def serve(listener: socket.socket | None, name: str, say_ready: Callable[[], None]) -> None:
        assert listener is not None
        run_worker(settings, store, runtime, listener, name=name, place=place, say_ready=say_ready)

    return [Service(str(index), listener, serve) for index, listener in enumerate(listeners)]


def _control(settings: Settings, token: str, runtime: RuntimeDirectory, listener: socket.socket | None) -> Service:
    # Absolute, as the status shows it to somebody who is not here.
    path = (settings.config or Path(NAME)).absolute()
    console = Console(path, settings.config_text, token, settings.expose_metrics)

    def serve(listener: socket.socket | None, _name: str, say_ready: Callable[[], None]) -> None:
        # The parent does without what only this process needs.
        from gateway.process.control_process import run_control

        run_control(console, runtime, listener, say_ready)

    return Service(CONTROL, listener, serve, rolls=False, heeds_hup=True)


def _tell(runtime: RuntimeDirectory, children: Sequence[ChildState]) -> None:
    """Leave word of the children for the control process. A full disk is no reason for the parent to end."""
    try:
        runtime.children = children
    except OSError as error:
        _log.error("cannot write to %s: %s", runtime.path, error)


def _embedded(settings: Settings, stack: ExitStack) -> EmbeddedServer | None:
    if settings.store_url is not None:
        return None
    embedded = EmbeddedServer(settings.data_dir)
    embedded.start()
    stack.callback(embedded.stop)
    return embedded


async def _prepare(settings: Settings, store: prerequisites.StoreAddress) -> None:
    """What must be right before any worker starts."""
    await prerequisites.check_store(settings, store)
    await compose.check_queue(settings)
    if settings.catalog is None and not settings.serves_shoppers:
        return
    async with AsyncExitStack() as stack:
        # Also without a catalogue to import: a worker that finds the search unusable can only say so by dying.
        catalog, search = await compose.open_catalog(settings, store, stack)
        if settings.catalog is None:
            return
        report = await import_once(settings.catalog, catalog=catalog, search=search)
        if report is not None and report.refused:
            first = report.rejections[0]
            raise prerequisites.CannotStart(
                f"{settings.catalog} has {report.rejected} wrong records, the first on line {first.line}: {first.reason}; "
                f"nothing was imported (peakgate catalog import --skip-bad takes the others)"
            )
