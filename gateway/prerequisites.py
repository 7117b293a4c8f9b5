"""Checks before a process serves: the store's version, layout and durability."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cart.ids import PARTITIONS
from checkout.durability import AofWait, Durability, OnReply, fsync_policy
from gateway.settings import Settings
from store import Client, ReplyError, StoreError, open_client

BLOCKING_DEADLINE_S: Final = 5.0
_OLDEST_STORE: Final = {"redis": (7, 0), "valkey": (7, 2)}
_SECRET_KEY: Final = "peakgate:secret"  # noqa: S105 - the name of a key, not a secret
_PARTITIONS_KEY: Final = "peakgate:partitions"


class CannotStart(Exception):
    """A fault of the environment, with its reason."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the store is, and whether it is the embedded one."""

    url: str
    is_embedded: bool


def check_data_dir(data_dir: Path) -> None:
    """See that the directory is there, or make it. Raises `CannotStart`."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"cannot use the data directory {data_dir}: {error.strerror}") from error


async def check_store(settings: Settings, store: StoreAddress) -> None:
    """See that the store is there, new enough, laid out as we know it, and as durable as was asked. Raises `CannotStart`."""
    async with AsyncExitStack() as stack:
        client = await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S)
        try:
            _check_version(_versions(await client.execute("INFO", "server")))
            await _check_partitions(client)
            if settings.durability == "aof":
                await _check_durability(client)
        except StoreError as error:
            raise CannotStart(f"the store does not answer as it should: {error}") from error


def _check_version(found: Mapping[str, tuple[int, ...]]) -> None:
    for name, oldest in _OLDEST_STORE.items():
        if found.get(name, oldest) < oldest:
            wanted, has = (".".join(map(str, number)) for number in (oldest, found[name]))
            raise CannotStart(f"the store is {name} {has}; {wanted} or newer is needed")


async def _check_partitions(client: Client) -> None:
    """Ids begin with their partition, so a store filled with another number of them would not be found again."""
    recorded = await client.execute("SET", _PARTITIONS_KEY, PARTITIONS, "NX", "GET")
    if recorded is not None and int(recorded) != PARTITIONS:
        raise CannotStart(f"the store was filled with {int(recorded)} partitions; this Peakgate has {PARTITIONS}")


async def _check_durability(client: Client) -> None:
    policy = await fsync_policy(client)
    if policy == "off":
        raise CannotStart("--durability aof needs a store with an append-only file (appendonly yes)")
    if policy != "always":
        try:
            await AofWait(client).probe()
        except ReplyError as error:
            raise CannotStart(
                f"--durability aof needs a store with appendfsync always, or one that knows WAITAOF: {error}"
            ) from error


def _versions(info: bytes | str) -> Mapping[str, tuple[int, ...]]:
    """The versions that INFO tells: Valkey tells both its own and the Redis it is compatible with."""
    text = info.decode() if isinstance(info, bytes) else info
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {
        name: tuple(int(part) for part in lines[f"{name}_version"].split(".")[:2])
        for name in _OLDEST_STORE
        if f"{name}_version" in lines
    }


async def shared_secret(client: Client) -> bytes:
    """32 random bytes that all gateways of the store have: they sign tokens with them. Raises `CannotStart`."""
    try:
        made = secrets.token_bytes(32)
        found = await client.execute("SET", _SECRET_KEY, made, "NX", "GET")
    except StoreError as error:
        raise CannotStart(f"the store does not answer as it should: {error}") from error
    return made if found is None else bytes(found)


async def durability(settings: Settings, store: StoreAddress, client: Client, stack: AsyncExitStack) -> Durability:
    """How orders are kept safe on this store, as it is set or as fits it."""
    level = settings.durability or ("aof" if store.is_embedded else "memory")
    # Where the server flushes its file before each reply, the reply says all there is to say.
    if level == "memory" or await fsync_policy(client) == "always":
        return OnReply(client)
    return AofWait(await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S))


async def open_store(url: str, stack: AsyncExitStack, **options: float) -> Client:
    """A connection that `stack` closes. Raises `CannotStart`."""
    try:
        client = await open_client(url, **options)  # type: ignore[arg-type]
    except (StoreError, ValueError) as error:
        raise CannotStart(str(error)) from error
    stack.push_async_callback(client.close)
    return client
