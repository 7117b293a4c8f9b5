"""Brings all stored documents under the current key: after a rotation, and for plain ones of earlier versions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from cart.model import OrderId
from checkout.archive.archived import fields_of, with_document
from checkout.ports.archive import Archive
from checkout.ports.documents import OrderDocuments, StoredDocument
from checkout.ports.keys import KeysRefused, SealBroken, WrappingKeys
from checkout.ports.order_index import OrderIndex
from checkout.privacy.order_codec import OrderCodec, key_of

ARCHIVE_PAGE: Final = 500

_log = logging.getLogger(__name__)


class ResealReport(msgspec.Struct):
    """Documents of the store and of the archive: those looked at, sealed anew, changed meanwhile, and not to be opened."""

    seen: int = 0
    resealed: int = 0
    changed_meanwhile: int = 0
    unreadable: int = 0


class Resealer:
    """Seals with the current key what is sealed with another one, or not at all. May be stopped and begun again.

    It runs beside processes that serve: new orders are sealed with the current key, and a document that changes at the same
    moment is left to the next run. Orders that were plain are entered in the index, by the keyed hashes. Records of orders
    whose home is another Region than `home` are sealed anew by a run there.
    """

    def __init__(
        self,
        *,
        documents: OrderDocuments,
        index: OrderIndex,
        codec: OrderCodec,
        keys: WrappingKeys,
        archive: Archive | None = None,
        home: str = "",
        progress: Callable[[ResealReport], None] = lambda _: None,
    ) -> None:
        self._documents = documents
        self._index = index
        self._codec = codec
        self._keys = keys
        self._archive = archive
        self._home = home
        self._progress = progress

    async def run(self) -> ResealReport:
        """Look at every document once. Raises the errors of the store, of the archive and of the keys."""
        report = ResealReport()
        await self._reseal_stored(report)
        if self._archive is not None:
            await self._reseal_archived(self._archive, report)
        return report

    async def _reseal_stored(self, report: ResealReport) -> None:
        cursor: str | None = None
        while True:
            page = await self._documents.page(cursor)
            # At once: the server then flushes its file once for many of them.
            await asyncio.gather(*(self._reseal(stored, report) for stored in page.documents))
            self._progress(report)
            cursor = page.cursor
            if cursor is None:
                return

    async def _reseal(self, stored: StoredDocument, report: ResealReport) -> None:
        report.seen += 1
        new = await self._resealed(stored.order_id, stored.document, report)
        if new is None:
            return
        self._count(report, await self._documents.replace(stored.order_id, stored.document, new))
        if key_of(stored.document) is None:
            await self._index.enter(await self._codec.decode(new))

    async def _reseal_archived(self, archive: Archive, report: ResealReport) -> None:
        cursor: str | None = None
        while True:
            page = await archive.scan(limit=ARCHIVE_PAGE, cursor=cursor)
            for record in page.records:
                if record.home not in {"", self._home}:
                    continue
                new = await self._resealed(record.id, fields_of(record)["doc"], report)
                report.seen += 1
                if new is not None:
                    self._count(report, await archive.erase(with_document(record, new)))
            self._progress(report)
            cursor = page.cursor
            if cursor is None:
                return

    async def _resealed(self, order_id: OrderId, document: bytes, report: ResealReport) -> bytes | None:
        """The document under the current key, None if it is that already, was erased, or cannot be opened."""
        if key_of(document) == self._keys.current:
            return None
        try:
            order = await self._codec.decode(document, order_id=order_id)
        except (KeysRefused, SealBroken) as error:
            report.unreadable += 1
            _log.error("order %s is not sealed anew: %s", order_id, error)
            return None
        return None if order.erased_at is not None else await self._codec.encode(order)

    def _count(self, report: ResealReport, is_replaced: bool) -> None:
        if is_replaced:
            report.resealed += 1
        else:
            report.changed_meanwhile += 1
