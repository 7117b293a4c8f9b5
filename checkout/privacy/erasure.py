"""Erases the personal data of a shopper, wherever orders and carts are stored.

A request is recorded for each order first, so that a crash at any instruction is continued by the sweep. Then the order
leaves the indexes, its cart is deleted, its document is replaced, and at last its record in the archive is replaced.
Totals, lines, history and money stay as they are. An order in flight is erased once it has ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from cart.model import OrderId
from cart.ports import CartErasure
from cart.timestamps import unix_ms
from checkout.archive.archived import erased, fields_of
from checkout.errors import OrderElsewhere
from checkout.order import Order
from checkout.ports.agent_sessions import SessionErasure
from checkout.ports.archive import Archive, Position
from checkout.ports.documents import OrderDocuments
from checkout.ports.erasures import ErasureRequests, RequestedErasure
from checkout.ports.order_index import OrderIndex, Shopper
from checkout.ports.orders import Orders
from checkout.privacy.order_codec import OrderCodec, without_personal
from primitives.ages import Ages
from primitives.outages import is_outage
from primitives.rounds import try_round

# Orders of one look at an index, or at the requests.
BATCH: Final = 100
INTERVAL_S: Final = 60.0
# A record that the relay read before the erasure has reached the archive by then.
SETTLE_S: Final = 600.0

_log = logging.getLogger(__name__)


class ErasureReport(msgspec.Struct, frozen=True):
    """Orders of the shopper: those erased now, those that wait for their end, those of another Region.

    `carts` of an owner and `sessions` of an e-mail address are those that were deleted.
    """

    orders: int
    erased: int
    waiting: int
    carts: int
    elsewhere: int = 0
    sessions: int = 0


class Eraser:
    """Erases shoppers, and sweeps the requests that wait, about every `interval_s` seconds; any number of processes may.

    `index` finds the orders of the store and of the archive. Those whose home is another Region than `home` are left to an
    erasure there: a global table lets the last writer win, so only the home of an order replaces its record. Carts know an owner by `owner_name`. Calls raise the errors of the store, of the archive and of
    the keys.
    """

    def __init__(
        self,
        *,
        orders: Orders,
        documents: OrderDocuments,
        requests: ErasureRequests,
        index: OrderIndex,
        carts: CartErasure,
        sessions: SessionErasure,
        owner_name: Callable[[str], str] = str,
        codec: OrderCodec,
        archive: Archive | None = None,
        home: str = "",
        clock_ms: Callable[[], int] = unix_ms,
        clock: Callable[[], float] = time.monotonic,
        interval_s: float = INTERVAL_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._orders = orders
        self._documents = documents
        self._requests = requests
        self._index = index
        self._carts = carts
        self._sessions = sessions
        self._owner_name = owner_name
        self._codec = codec
        self._archive = archive
        self._home = home
        self._clock_ms = clock_ms
        self._waiting_for = Ages[OrderId](clock)
        self._interval_s = interval_s
        self._sleep = sleep
        self._chance = chance

    async def erase(self, shopper: Shopper) -> ErasureReport:
        """Erase a shopper. May be repeated, also after a crash: all that is left is done then."""
        ids = await self._orders_of(shopper)
        await self._requests.enter(ids, at=self._clock_ms())
        carts = await self._carts.delete_all_of(self._owner_name(shopper.name)) if shopper.by == "owner" else 0
        sessions = await self._sessions.erase_all_of(shopper.name) if shopper.by == "email" else 0
        outcomes = [await self._try(order_id, has_settled=False) for order_id in ids]
        return ErasureReport(
            orders=len(ids),
            erased=outcomes.count(True),
            waiting=outcomes.count(False),
            carts=carts,
            elsewhere=outcomes.count(None),
            sessions=sessions,
        )

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await self._sleep(self._interval_s * (0.5 + self._chance()))
            await try_round("erasing personal data", self.sweep)

    async def sweep(self) -> int:
        """Carry out the requests that can be; returns the number of those that wait still."""
        ids: list[OrderId] = []
        last: RequestedErasure | None = None
        while requests := await self._requests.waiting(limit=BATCH, after=last):
            ids += [request.order_id for request in requests]
            last = requests[-1]
        self._waiting_for.update(ids)
        outcomes = [
            await self._try(order_id, has_settled=self._waiting_for.is_older(order_id, SETTLE_S)) for order_id in ids
        ]
        return outcomes.count(False)

    async def erase_order(self, order_id: OrderId, *, has_settled: bool = False) -> bool:
        """Erase one order; False if it must be tried again later. A request that is carried out is removed.

        `has_settled`: the archive does not get a record any more that was read before the erasure. Raises `OrderElsewhere`.
        """
        order = await self._orders.read(order_id)
        if order is not None and order.erased_at is None and not await self._erase_stored(order):
            return False
        if not await self._erase_archived(order_id, has_settled=has_settled):
            return False
        await self._requests.finish(order_id)
        return True

    async def _try(self, order_id: OrderId, *, has_settled: bool) -> bool | None:
        """As `erase_order`, None for an order of another Region; one whose record is broken does not keep others from it."""
        try:
            return await self.erase_order(order_id, has_settled=has_settled)
        except OrderElsewhere:
            await self._requests.finish(order_id)
            return None
        except Exception as error:
            if is_outage(error):
                raise
            _log.exception("order %s is not erased, because it cannot be read", order_id)
            return False

    async def _orders_of(self, shopper: Shopper) -> list[OrderId]:
        ids: list[OrderId] = []
        after: Position | None = None
        while places := await self._index.places(shopper, limit=BATCH, after=after):
            ids += [place.order_id for place in places]
            after = places[-1]
        return ids

    async def _erase_stored(self, order: Order) -> bool:
        document = await self._documents.read(order.id)
        if document is None or not order.status.has_ended:
            return False
        without = await self._erased_document(document)
        # The index first: an erased order no longer says whose it was. Its request is recorded, so it is not lost.
        await self._index.forget(order)
        # The cart next: once the order is erased, no sweep comes to it again.
        await self._carts.delete(order.cart_id)
        if not await self._documents.erase(order, document, without):
            await self._index.enter(order)
            return False
        _log.info("the personal data of order %s is erased", order.number)
        return True

    async def _erased_document(self, document: bytes) -> bytes:
        accepted = await self._codec.decode(document)
        if accepted.erased_at is not None:
            return document
        return await self._codec.encode(msgspec.structs.replace(without_personal(accepted), erased_at=self._clock_ms()))

    async def _erase_archived(self, order_id: OrderId, *, has_settled: bool) -> bool:
        if self._archive is None:
            return True
        record = await self._archive.read(order_id)
        stored = await self._orders.read(order_id)
        if record is None:
            return stored is None or has_settled
        if record.home not in {"", self._home}:
            raise OrderElsewhere(record.home)
        if stored is not None and record.revision < stored.revision and not has_settled:
            # Its last record is on the way, and may be one from before the erasure.
            return False
        before = fields_of(record)["doc"]
        document = await self._erased_document(before)
        if document == before and record.email_hash is None and record.owner_hash is None:
            return True
        is_erased = await self._archive.erase(erased(record, document))
        if is_erased:
            await self._carts.delete((await self._codec.decode(document)).cart_id)
        return is_erased
