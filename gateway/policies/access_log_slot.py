"""The access log of a worker: opened with new policies, swapped in with them, closed after its last line."""

from __future__ import annotations

import asyncio

from gateway.config.policies import AccessLog as Table
from gateway.pipeline.access_log import AccessLog


class AccessLogSlot:
    """Holds the open access log, None while there is none. `prepare` opens the next one, `swap` puts it in place.

    Raises `OSError` where a log cannot be opened.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self.log = _open(table)
        # Opened for policies that were prepared, until those are active or others are prepared.
        self._prepared: AccessLog | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def prepare(self, table: Table) -> AccessLog | None:
        """The log that these policies ask for: the open one where nothing about it changes."""
        await self._close_prepared()
        if table == self._table:
            return self.log
        self._prepared = _open(table)
        return self._prepared

    def swap(self, table: Table, log: AccessLog | None) -> None:
        """Put a prepared log in place; the one before it is closed in the background."""
        old, self.log = self.log, log
        self._table = table
        self._prepared = None
        if old is not None and old is not log:
            closing = asyncio.get_running_loop().create_task(old.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Write the rest of the log and close it."""
        await self._close_prepared()
        if self.log is not None:
            await self.log.close()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _close_prepared(self) -> None:
        log, self._prepared = self._prepared, None
        if log is not None:
            await log.close()


def _open(table: Table) -> AccessLog | None:
    if not table.enabled:
        return None
    return AccessLog(
        {
            "ok": table.ok_sample_rate,
            "rejected": table.rejected_sample_rate,
            "client_error": table.client_error_sample_rate,
            "server_error": table.server_error_sample_rate,
        },
        slow_s=table.slow_s,
        file=table.file,
        personal_fields=table.personal_fields,
    )
