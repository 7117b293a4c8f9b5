"""Archiving orders in the background: the relay of their events to the archive, and their retention in the store."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

from checkout.archive.retention import Retention
from checkout.archive.sink import ArchiveSink
from gateway.admin.archive_stats import ArchiveStats
from gateway.compose.background import Background
from gateway.compose.events import start_relay
from gateway.compose.orders import OrderBackends
from gateway.compose.sinks import ARCHIVE
from gateway.settings import Settings

_DAY_S: Final = 86_400


def start_archiving(
    settings: Settings, backends: OrderBackends, background: Background, stack: AsyncExitStack
) -> ArchiveStats | None:
    """Archive orders as they change, and delete old ones from the store; None without an archive."""
    archive = backends.archive
    if archive is None:
        return None
    sink = ArchiveSink(archive.stored, archive.archive, make_durable=backends.orders.make_durable)
    start_relay(ARCHIVE, sink, backends, background, stack)
    retention = Retention(
        archive.stored,
        archive.archive,
        make_durable=backends.orders.make_durable,
        keep_s=settings.order_keep_days * _DAY_S,
    )
    background.start("retention of orders", retention.run)
    return ArchiveStats(sink, retention)
