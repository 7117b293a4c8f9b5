"""`peakgate privacy erase|rotate|status`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from checkout.errors import ServiceUnavailable
from checkout.ports.archive import ArchiveUnavailable
from checkout.ports.keys import KeysUnavailable
from checkout.ports.order_index import Shopper
from checkout.privacy.key_file import KEY_BYTES, KeyFileUnusable, new_name, read_key_file, replace_key_file
from checkout.privacy.resealing import ResealReport
from gateway.commands.opened_store import open_store_address
from gateway.commands.order_session import EX_OK, EX_UNAVAILABLE, Say
from gateway.compose.erasure import erasure_requests, open_eraser, open_resealer
from gateway.compose.orders import OrderBackends, open_order_backends
from gateway.compose.privacy import WATCH_S
from gateway.prerequisites import BLOCKING_DEADLINE_S, CannotStart, StoreAddress, open_store
from gateway.resilience.breakers import Breakers
from gateway.settings import Settings
from store import StoreError
from store.embedded import EmbeddedServerError

# Passes over all orders until one finds none under an old key.
MAX_PASSES: Final = 5


def erase(settings: Settings, shopper: Shopper, *, say: Say) -> int:
    """Erase the shopper; returns the exit code."""

    async def act(backends: OrderBackends) -> int:
        report = await open_eraser(backends).erase(shopper)
        sys.stdout.write(
            f"{report.orders:,} orders found: {report.erased:,} erased, {report.waiting:,} wait for their end\n"
        )
        if shopper.by == "owner":
            sys.stdout.write(f"{report.carts:,} carts deleted\n")
        else:
            sys.stdout.write(f"{report.sessions:,} sessions of agents deleted\n")
        if report.elsewhere:
            sys.stdout.write(f"{report.elsewhere:,} have their home in another Region: erase the shopper there too\n")
        if report.waiting:
            say("orders that wait are erased by the workers, within two minutes of their end")
        return EX_OK

    return _run(settings, act, say=say)


def rotate(settings: Settings, *, prepare: bool, say: Say) -> int:
    """Make a new key the current one, and seal all orders with it; returns the exit code."""
    if settings.kms_key is None:
        try:
            _add_key(settings, prepare=prepare, say=say)
        except KeyFileUnusable as error:
            say(str(error))
            return EX_UNAVAILABLE
        if prepare:
            return EX_OK
    return _run(settings, lambda backends: _reseal(backends, say=say), say=say)


def status(settings: Settings, *, say: Say) -> int:
    """Show the keys in use and the erasures that wait; returns the exit code."""

    async def act(backends: OrderBackends) -> int:
        used = await backends.privacy.registry.read()
        waiting = await erasure_requests(backends).count()
        for name in used.names:
            sys.stdout.write(f"{name}{'  current' if name == backends.privacy.keyring.current else ''}\n")
        sys.stdout.write(f"{waiting:,} orders wait for their erasure\n")
        return EX_OK

    return _run(settings, act, say=say)


def _add_key(settings: Settings, *, prepare: bool, say: Say) -> None:
    """A key that was prepared becomes the current one, or else a new one."""
    path = settings.key_file_path
    content = read_key_file(path)
    if content is None:
        raise KeyFileUnusable(f"there is no key file {path}; the first start of the gateway makes it")
    newest = list(content.keys)[-1]
    if newest == content.current or prepare:
        name = new_name(f"{datetime.now(UTC):%Y%m%d}")
        content = content.with_key(name, os.urandom(KEY_BYTES), is_current=not prepare)
        say(f"added the key {name} to {path}: keep a copy of the file")
    else:
        content = content.with_current(newest)
    replace_key_file(path, content)
    if prepare:
        say("bring the file to every gateway of the store; then run `peakgate privacy rotate`")


async def _reseal(
    backends: OrderBackends, *, say: Say, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> int:
    privacy = backends.privacy
    others = [name for name in (await privacy.registry.read()).names if name != privacy.keyring.current]
    total = ResealReport()
    report = ResealReport()
    for number in range(MAX_PASSES):
        if number:
            # Until then running gateways seal new orders with the key before.
            await sleep(2 * WATCH_S)
        report = await _pass(backends)
        total.resealed += report.resealed
        if number and report.unreadable:
            break
        if number and not (report.resealed or report.changed_meanwhile or report.unreadable):
            for name in others:
                await privacy.registry.remove(name)
            sys.stdout.write(
                f"{report.seen:,} orders are sealed with {privacy.keyring.current}, {total.resealed:,} of them anew\n"
            )
            if others:
                say(f"no order needs {', '.join(others)} any more; backups of the data do")
            return EX_OK
    if report.unreadable:
        say(f"{report.unreadable:,} orders cannot be opened, as the lines before say; the others are done")
        return EX_UNAVAILABLE
    say("orders are still sealed with an older key: does every gateway of the store have the new key file?")
    return EX_UNAVAILABLE


async def _pass(backends: OrderBackends) -> ResealReport:
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("sealing orders", total=None)

        def show(report: ResealReport) -> None:
            bar.update(task, description=f"{report.seen:,} orders seen, {report.resealed:,} sealed anew")

        return await open_resealer(backends, show).run()


def _run(settings: Settings, act: Callable[[OrderBackends], Awaitable[int]], *, say: Say) -> int:
    with ExitStack() as stack:
        try:
            return asyncio.run(_with_backends(settings, open_store_address(settings, stack), act))
        except (
            ArchiveUnavailable,
            CannotStart,
            EmbeddedServerError,
            KeyFileUnusable,
            KeysUnavailable,
            ServiceUnavailable,
            StoreError,
        ) as error:
            say(str(error))
            return EX_UNAVAILABLE


async def _with_backends(
    settings: Settings, store: StoreAddress, act: Callable[[OrderBackends], Awaitable[int]]
) -> int:
    async with AsyncExitStack() as stack:
        client = await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S)
        breakers = Breakers(settings.policies.breaker)
        return await act(await open_order_backends(settings, store, client, breakers, stack, worker_name="command"))
