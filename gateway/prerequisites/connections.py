"""The address of the store, and connections to it that a stack closes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from gateway.settings import Settings
from store import StoreClient, StoreError, open_store_client
from store.tls import TlsFileFault, with_tls_files

BLOCKING_DEADLINE_S: Final = 5.0


class CannotStart(Exception):
    """A fault of the environment, with its reason."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the store is, and whether it is the embedded one."""

    url: str
    is_embedded: bool


def given_store(settings: Settings) -> StoreAddress | None:
    """The store that the settings name, with their certificates; None for the embedded one. Raises `CannotStart`."""
    if settings.store_url is None:
        return None
    files = (settings.store_ca_file, settings.store_cert_file, settings.store_key_file)
    ca, certificate, key = (None if path is None else str(path) for path in files)
    try:
        url = with_tls_files(settings.store_url, ca=ca, certificate=certificate, key=key)
    except TlsFileFault as error:
        raise CannotStart(f"cannot use TLS with the store: {error}") from error
    return StoreAddress(url, is_embedded=False)


async def open_companion(store: StoreAddress, leader: StoreClient, stack: AsyncExitStack) -> StoreClient:
    """A connection for commands that the server may hold back; it follows `leader` to another server. Raises `CannotStart`."""
    client = await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S)
    client.accompany(leader)
    return client


async def open_store(url: str, stack: AsyncExitStack, **options: float) -> StoreClient:
    """A connection that `stack` closes. Raises `CannotStart`."""
    try:
        client = await open_store_client(url, **options)  # type: ignore[arg-type]
    except (StoreError, ValueError) as error:
        raise CannotStart(str(error)) from error
    stack.push_async_callback(client.close)
    return client
