"""The progress of orders in Redis or Valkey: fields of each order's hash, and a hash of the orders that need a person."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from cart.ids import partition_of
from cart.model import OrderId
from checkout.order_status import OrderStatus
from checkout.ports.outbox import OutboxEntry
from checkout.ports.progress import MAX_DELAY_MS, SUSPECT_DEATHS, Attention, Busy, Early, SetAside, Taken, Tally
from checkout.privacy.order_codec import OrderCodec
from checkout.stored import ALL_PARTITIONS, attention_key, in_flight_key, order_key, outbox_key
from store import Script, Store


def _script(name: str) -> Script:
    return Script.from_package("checkout.redis", f"scripts/{name}.lua")


TAKE: Final = _script("take")
RENEW: Final = _script("renew")
PUT_BACK: Final = _script("put_back")
DELAY: Final = _script("delay")
SET_ASIDE: Final = _script("set_aside")
RESUME: Final = _script("resume")
PLAIN: Final = OrderCodec()


class RedisProgress:
    """`Progress` on a store. A lease lasts `lease_ms`, by the clock of the server.

    `codec` opens the personal data of orders; only tests go without. `take` raises `KeysUnavailable` too.
    """

    def __init__(self, store: Store, *, lease_ms: int, codec: OrderCodec = PLAIN) -> None:
        self._store = store
        self._lease_ms = lease_ms
        self._codec = codec

    async def take(self, order_id: OrderId, holder: str) -> Taken | Busy | Early | SetAside | None:
        """See `Progress.take`. Reads the order in the same round trip."""
        keys = [order_key(order_id), attention_key(partition_of(order_id))]
        args = (order_id, holder, self._lease_ms, SUSPECT_DEATHS, MAX_DELAY_MS)
        match await self._store.run(TAKE, keys, args):
            case [b"taken", doc, state, facts, failures, deaths, runs, waited_ms]:
                return Taken(
                    await self._codec.decode(doc, state, facts, order_id=order_id), failures, deaths, runs, waited_ms
                )
            case [b"busy", retry_after_ms]:
                return Busy(retry_after_ms)
            case [b"early", retry_after_ms]:
                return Early(retry_after_ms)
            case [b"aside"]:
                return SetAside()
            case _:
                return None

    async def renew(self, order_id: OrderId, holder: str) -> bool:
        """See `Progress.renew`."""
        return bool(await self._store.run(RENEW, [order_key(order_id)], (holder, self._lease_ms)))

    async def put_back(
        self, order_id: OrderId, holder: str, *, failed: bool = False, unanswered: bool = False
    ) -> Tally | None:
        """See `Progress.put_back`."""
        args = (holder, int(failed), int(unanswered))
        reply = await self._store.run(PUT_BACK, [order_key(order_id)], args)
        if reply is None:
            return None
        failures, runs, since_ms, status = reply
        return Tally(failures, runs, since_ms, OrderStatus(status.decode()))

    async def delay(self, order_id: OrderId, delay_ms: int) -> None:
        """See `Progress.delay`."""
        await self._store.run(DELAY, [order_key(order_id)], (min(delay_ms, MAX_DELAY_MS),))

    async def set_aside(self, order_id: OrderId, holder: str, *, reason: str) -> bool:
        """See `Progress.set_aside`."""
        keys = [order_key(order_id), attention_key(partition_of(order_id))]
        return bool(await self._store.run(SET_ASIDE, keys, (order_id, holder, reason)))

    async def resume(self, order_id: OrderId, *, message: bytes) -> OutboxEntry | None:
        """See `Progress.resume`."""
        partition = partition_of(order_id)
        keys = [order_key(order_id), attention_key(partition), outbox_key(partition), in_flight_key(partition)]
        entry_id = await self._store.run(RESUME, keys, (order_id, message))
        return None if entry_id is None else OutboxEntry(partition, entry_id.decode(), order_id, message)

    async def needing_attention(self) -> Sequence[Attention]:
        """See `Progress.needing_attention`."""
        found = await asyncio.gather(*(self._store.execute("HGETALL", attention_key(each)) for each in ALL_PARTITIONS))
        entries = [_attention(order_id, note) for by_id in found for order_id, note in by_id.items()]
        return sorted(entries, key=lambda entry: entry.at)

    async def count_needing_attention(self) -> int:
        """See `Progress.count_needing_attention`."""
        return sum(await asyncio.gather(*(self._store.execute("HLEN", attention_key(each)) for each in ALL_PARTITIONS)))


def _attention(order_id: bytes, note: bytes) -> Attention:
    at_ms, _, reason = note.decode().partition(" ")
    return Attention(OrderId(order_id.decode()), int(at_ms), reason)
