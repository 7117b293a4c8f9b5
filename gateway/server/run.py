"""`peakgate serve` from the parent's side: store, catalogue, sockets, workers; and everything down again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Final

from cart.catalog.files import CatalogFileError
from cart.catalog.importer import import_once
from cart.catalog.ports import ImportBusy, SearchUnavailable
from gateway import compose
from gateway.server.listeners import CannotListen, open_listeners
from gateway.server.supervisor import Supervisor
from gateway.server.worker import run_worker
from gateway.settings import Settings
from store import StoreError
from store.embedded import EmbeddedServer, EmbeddedServerError, store_url


class CannotServe(Exception):
    """The gateway could not be started; the text says why."""


# What is wrong outside, and says so in words for its owner.
_FAULTS: Final = (
    *(CannotListen, EmbeddedServerError, compose.CannotStart),
    *(CatalogFileError, ImportBusy, SearchUnavailable, StoreError),
)


def run(settings: Settings, *, say: Callable[[str], None]) -> bool:
    """Serve until told to stop. False if a worker could not be started. Raises `CannotServe`."""
    with ExitStack() as stack:
        try:
            listeners = open_listeners(settings.host, settings.port, settings.workers)
            for listener in listeners:
                stack.callback(listener.close)
            embedded = _embedded(settings, stack)
            store = compose.StoreAddress(settings.store_url or store_url(settings.data_dir), embedded is not None)
            asyncio.run(_prepare(settings, store))
        except _FAULTS as error:
            raise CannotServe(str(error)) from error
        host, port = listeners[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        # Other servers may work on the same store, on this machine or another, and take their orders under other names.
        place = f"{socket.gethostname()}:{port}"
        return Supervisor(
            listeners,
            lambda listener, name, say_ready: run_worker(settings, store, listener, f"{place}:{name}", say_ready),
            on_ready=lambda: say(f"ready on http://{shown}:{port} (API at http://{shown}:{port}/docs)"),
            dependency=embedded,
            drain_timeout_s=settings.drain_timeout,
        ).run()


def _embedded(settings: Settings, stack: ExitStack) -> EmbeddedServer | None:
    if settings.store_url is not None:
        return None
    embedded = EmbeddedServer(settings.data_dir)
    embedded.start()
    stack.callback(embedded.stop)
    return embedded


async def _prepare(settings: Settings, store: compose.StoreAddress) -> None:
    """What must be right before any worker starts."""
    await compose.check_store(settings, store)
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
            raise compose.CannotStart(
                f"{settings.catalog} has {report.rejected} wrong records, the first on line {first.line}: {first.reason}; "
                f"nothing was imported (peakgate catalog import --skip-bad takes the others)"
            )
