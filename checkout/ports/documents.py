"""The documents of the stored orders, which hold their personal data: replaced when keys change, and erased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from cart.model import OrderId
from checkout.order import Order


class StoredDocument(msgspec.Struct, frozen=True):
    """The document of an order as it was accepted: see `checkout.privacy.order_codec`."""

    order_id: OrderId
    document: bytes


class DocumentPage(msgspec.Struct, frozen=True):
    """Some documents; `cursor` continues the scan, None at its end."""

    documents: Sequence[StoredDocument]
    cursor: str | None


class OrderDocuments(Protocol):
    """The documents of all orders of the store. All calls raise the errors of the store."""

    async def page(self, cursor: str | None = None) -> DocumentPage:
        """A page of a scan. An order may come twice; one that is stored from before the scan to its end comes.

        Raises `ValueError` for a cursor of something else.
        """
        ...

    async def read(self, order_id: OrderId) -> bytes | None:
        """The document of the order, None if there is no such order."""
        ...

    async def replace(self, order_id: OrderId, before: bytes, after: bytes) -> bool:
        """Replace the document `before`; False, without a change, if another one is stored."""
        ...

    async def erase(self, order: Order, before: bytes, after: bytes) -> bool:
        """Replace the document `before`; forget the digests and the agent's session of the checkout, and the tracking.

        False, without a change, while the order is in flight or has facts to apply, or if another document is stored.
        """
        ...
