"""The archive of orders that the settings name, and the orders of the store and of the archive as one."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from cart.model import DAY_MS
from checkout.archive.archived import Records
from checkout.archive.guarded import GuardedArchive, is_archive_failure
from checkout.archive.orders import ArchivedOrderIndex, ArchivedOrders, WholeOrders
from checkout.archive.sqlite_archive import FILE_NAME, SqliteArchive
from checkout.message import order_accepted
from checkout.ports.archive import Archive, ArchiveMisconfigured, ArchiveUnavailable
from checkout.ports.order_index import OrderIndex
from checkout.ports.orders import Orders
from checkout.redis.order_index import RedisOrderIndex
from checkout.redis.records import RedisOrderRecords
from gateway.compose.privacy import Privacy
from gateway.prerequisites import CannotStart
from gateway.resilience.breakers import Breakers
from gateway.settings import Settings
from store import Store, is_cluster

_NONE: Final = "none"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OrderArchive:
    """The archive of a process: for writing, and behind a breaker for those who read."""

    archive: Archive
    records: Records
    stored: RedisOrderRecords
    orders: ArchivedOrders


@dataclass(frozen=True, slots=True)
class ReadableOrders:
    """The orders wherever they are, with their index; those of the store where there is no archive."""

    orders: Orders
    index: OrderIndex
    archive: OrderArchive | None


async def open_readable_orders(  # noqa: PLR0917 - each is a part of a process that is opened once
    settings: Settings,
    store: Store,
    orders: Orders,
    privacy: Privacy,
    breakers: Breakers,
    stack: AsyncExitStack,
) -> ReadableOrders:
    """Open the archive, and read the orders of the store through it. Raises `CannotStart`."""
    index = RedisOrderIndex(store, privacy.pseudonyms, is_cluster=is_cluster(store))
    archive = await open_archive(settings, stack)
    if archive is None:
        return ReadableOrders(orders, index, None)
    guarded = GuardedArchive(archive, breakers.of("archive", is_failure=is_archive_failure))
    records = Records(privacy.codec, privacy.pseudonyms, home=settings.home_region or "")
    stored = RedisOrderRecords(store, records, index)
    archived = ArchivedOrders(guarded, records, stored, message=order_accepted)
    return ReadableOrders(
        WholeOrders(orders, archived),
        ArchivedOrderIndex(index, guarded, privacy.pseudonyms),
        OrderArchive(archive, records, stored, archived),
    )


async def open_archive(settings: Settings, stack: AsyncExitStack) -> Archive | None:
    """The archive, closed by `stack`; None without one. Raises `CannotStart`."""
    keep_ms = None if settings.archive_keep_days is None else round(settings.archive_keep_days * DAY_MS)
    if settings.archive_kind == _NONE:
        return None
    if settings.archive_kind == "dynamodb":
        return await _open_table(settings, keep_ms, stack)
    in_file = SqliteArchive(settings.data_dir / FILE_NAME, keep_ms=keep_ms)
    stack.push_async_callback(in_file.close)
    try:
        await in_file.open()
    except ArchiveMisconfigured as error:
        raise CannotStart(str(error)) from error
    return in_file


async def check_archive(settings: Settings) -> None:
    """Check that the archive can be used, or that it is only away for now. Raises `CannotStart`."""
    if settings.archive_kind == "sqlite" and (settings.gateways > 1 or settings.role != "all"):
        raise CannotStart(
            "--archive sqlite is a file of one machine, which other gateways, and those of another role, cannot read: "
            "use --archive dynamodb or --archive none"
        )
    async with AsyncExitStack() as stack:
        archive = await open_archive(settings, stack)
        if archive is None:
            return
        try:
            await archive.check()
        except ArchiveMisconfigured as error:
            raise CannotStart(str(error)) from error
        except ArchiveUnavailable as error:
            _log.warning("orders are archived once the archive answers: %s", error)


async def _open_table(settings: Settings, keep_ms: int | None, stack: AsyncExitStack) -> Archive:
    try:
        from checkout.archive.dynamodb_archive import DynamoDbArchive
        from checkout.aws.json_client import open_json_client
    except ModuleNotFoundError as error:
        raise CannotStart(
            f"--archive dynamodb needs the client library of AWS ({error.name} is not installed): "
            f"pip install 'peakgate[aws]', or make install-aws in a clone"
        ) from error

    opening = open_json_client("dynamodb", endpoint_url=settings.aws_endpoint_url, region=settings.aws_region)
    try:
        client = await stack.enter_async_context(opening)
    except ValueError as error:
        raise CannotStart(f"--archive dynamodb: {error}") from error
    return DynamoDbArchive(client, settings.archive_table, keep_ms=keep_ms)
