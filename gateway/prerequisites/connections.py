"""The address of the store, and connections to it that a stack closes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from store import Client, StoreError, open_client

BLOCKING_DEADLINE_S: Final = 5.0


class CannotStart(Exception):
    """A fault of the environment, with its reason."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the store is, and whether it is the embedded one."""

    url: str
    is_embedded: bool


async def open_companion(store: StoreAddress, leader: Client, stack: AsyncExitStack) -> Client:
    """A connection for commands that the server may hold back; it follows `leader` to another server. Raises `CannotStart`."""
    client = await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S)
    client.accompany(leader)
    return client


async def open_store(url: str, stack: AsyncExitStack, **options: float) -> Client:
    """A connection that `stack` closes. Raises `CannotStart`."""
    try:
        client = await open_client(url, **options)  # type: ignore[arg-type]
    except (StoreError, ValueError) as error:
        raise CannotStart(str(error)) from error
    stack.push_async_callback(client.close)
    return client
