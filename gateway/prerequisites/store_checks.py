"""Checks of the data directory and of the store: everything that the promises to shoppers need."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from cart.ids import PARTITIONS
from checkout.redis.durability import AofWait, Durability, OnReply, ReplicaWait, fsync_policy, wait_on
from gateway.prerequisites.connections import (
    BLOCKING_DEADLINE_S,
    CannotStart,
    StoreAddress,
    open_companion,
    open_store,
)
from gateway.prerequisites.permissions import missing_permissions
from gateway.prerequisites.requirements import Description, faults, warnings
from gateway.settings import Settings
from store import PinnedStore, ReplyError, Store, StoreClient, StoreError, is_cluster, servers_of
from store.data_directory import prepare_data_directory
from store.opening import urls_of

_log = logging.getLogger("peakgate")

# How long the start waits for a replica's word.
PROBE_MS: Final = 1_000

_SECRET_KEY: Final = "peakgate:secret"  # noqa: S105 - the name of a key, not a secret
_PARTITIONS_KEY: Final = "peakgate:partitions"


def check_data_dir(data_dir: Path) -> None:
    """See that the directory is there, or make it; it belongs to this user alone. Raises `CannotStart`."""
    try:
        prepare_data_directory(data_dir)
    except OSError as error:
        raise CannotStart(f"cannot use the data directory {data_dir}: {error.strerror}") from error


async def check_store(settings: Settings, store: StoreAddress) -> None:
    """See that the store can hold all promises; log a doubt as a warning. Raises `CannotStart` with all reasons in a line."""
    async with AsyncExitStack() as stack:
        client = await open_store(store.url, stack, deadline_s=BLOCKING_DEADLINE_S)
        try:
            if not store.is_embedded:
                await _check_permissions(urls_of(store.url, client), is_cluster=is_cluster(client))
            descriptions = [await _check_requirements(settings, server) for server in servers_of(client)]
            await _check_partitions(client)
            for server in servers_of(client):
                await _check_durability(settings, server)
        except StoreError as error:
            raise CannotStart(f"the store does not answer as it should: {error}") from error
    if not store.is_embedded:
        found = (warnings(each, trusts_memory=settings.durability in {None, "memory"}) for each in descriptions)
        for warning in dict.fromkeys(itertools.chain(*found)):
            _log.warning("%s", warning)


async def _check_permissions(urls: Sequence[str], *, is_cluster: bool) -> None:
    """On every server: those of a cluster have users of their own."""
    found = [await missing_permissions(url, is_cluster=is_cluster) for url in urls]
    missing = dict.fromkeys(itertools.chain(*found))
    if missing:
        raise CannotStart(
            f"the user of the store may not use {', '.join(missing)}; docs/store.md has the ACL line with all that is needed"
        )


async def _check_requirements(settings: Settings, server: Store) -> Description:
    description = Description.parse(await server.execute("INFO"))
    needs_file = settings.durability == "aof"
    if found := faults(description, needs_file=needs_file, allows_eviction=settings.allow_eviction):
        raise CannotStart("; ".join(found))
    return description


async def _check_partitions(client: StoreClient) -> None:
    """Ids begin with their partition, so a store filled with another number of them would not be found again."""
    recorded = await _record_once(client, _PARTITIONS_KEY, str(PARTITIONS).encode())
    if int(recorded) != PARTITIONS:
        raise CannotStart(f"the store was filled with {int(recorded)} partitions; this Peakgate has {PARTITIONS}")


async def _check_durability(settings: Settings, server: Store) -> None:
    match settings.durability:
        case "aof":
            await _check_file(server)
        case "replica":
            await _check_replicas(server)
        case "queue" if settings.queue_url is None:
            raise CannotStart(
                "--durability queue needs a queue outside of the store (--queue-url): that of the store is as durable as the store"
            )


async def _check_file(server: Store) -> None:
    policy = await fsync_policy(server)
    if policy == "off":
        raise CannotStart("--durability aof needs a store with an append-only file (appendonly yes)")
    if policy != "always":
        try:
            await AofWait(server).probe()
        except ReplyError as error:
            raise CannotStart(
                f"--durability aof needs a store with appendfsync always, or one that knows WAITAOF: {error}"
            ) from error


async def _check_replicas(server: Store) -> None:
    try:
        has_replica = await ReplicaWait(server, wait_ms=PROBE_MS).probe()
    except ReplyError as error:
        raise CannotStart(f"--durability replica needs a store that knows WAIT: {error}") from error
    if not has_replica:
        # It may come back: until then a checkout is refused, and all else is served.
        _log.warning("no replica of the store confirms writes: without one no order is accepted (--durability replica)")


async def shared_secret(client: StoreClient) -> bytes:
    """32 random bytes that all gateways of the store have: they sign tokens with them. Raises `CannotStart`."""
    try:
        return await _record_once(client, _SECRET_KEY, secrets.token_bytes(32))
    except StoreError as error:
        raise CannotStart(f"the store does not answer as it should: {error}") from error


async def _record_once(client: StoreClient, key: str, value: bytes) -> bytes:
    """The value of a key, this one if it has none yet. Only then it writes: a full store serves gateways that start."""
    recorded = await client.execute("GET", key)
    if recorded is None:
        recorded = await client.execute("SET", key, value, "NX", "GET")
    return value if recorded is None else bytes(recorded)


async def restore_shared(client: StoreClient, secret: bytes) -> None:
    """Write what all gateways share into a store that was emptied. Raises `StoreError`."""
    await client.execute("SET", _PARTITIONS_KEY, PARTITIONS, "NX")
    found = await client.execute("SET", _SECRET_KEY, secret, "NX", "GET")
    if found is not None and bytes(found) != secret:
        _log.error("the gateways of the store sign tokens with another secret: restart this gateway")


async def durability(settings: Settings, store: StoreAddress, client: StoreClient, stack: AsyncExitStack) -> Durability:
    """How orders are kept safe on this store, as it is set or as fits it."""
    level = settings.durability or ("aof" if store.is_embedded else "memory")
    if level == "replica":
        return wait_on(await open_companion(store, client, stack), ReplicaWait)
    # Where the server flushes its file before each reply, the reply says all there is to say.
    if level == "aof" and {await fsync_policy(server) for server in servers_of(client)} != {"always"}:
        return wait_on(await open_companion(store, client, stack), AofWait)
    return OnReply(PinnedStore(client))
