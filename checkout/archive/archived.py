"""The record of an order in the archive: the fields of its hash in the store, but for the progress of its workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from checkout.order import Order
from checkout.ports.archive import ArchivedOrder
from checkout.ports.orders import Receipt
from checkout.privacy.order_codec import OrderCodec
from checkout.privacy.pseudonyms import Pseudonyms
from checkout.stored import without_tracking

# Of the present run of the order, or of the store that it is in (`checkout.stored`).
_TRANSIENT: Final = frozenset({"lease", "failures", "deaths", "unanswered", "aside", "touched", "durable"})

Fields = dict[str, bytes]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Fields).decode


class Records:
    """Makes records of stored orders, and orders of records. `home` is the Region of this store, '' if there is only one."""

    def __init__(self, codec: OrderCodec, pseudonyms: Pseudonyms, *, home: str = "") -> None:
        self.home = home
        self._codec = codec
        self._pseudonyms = pseudonyms

    async def of_fields(self, fields: Mapping[str, bytes], known: Order | None = None) -> tuple[ArchivedOrder, Order]:
        """The record of an order whose hash has these fields, and the order. `known` is the order as it was read before."""
        # To open and decode it once more would be a quarter of the cost of a record.
        is_same = known is not None and "facts" not in fields and fields.get("revision") == b"%d" % known.revision
        order = known if is_same and known is not None else await self.order_of(fields)
        kept = {name: value for name, value in fields.items() if name not in _TRANSIENT}
        record = ArchivedOrder(
            id=order.id,
            revision=order.revision,
            status=order.status,
            number=order.number,
            created_at=order.created_at,
            updated_at=order.updated_at,
            content=_encode(kept),
            owner_hash=self._pseudonyms.of_owner(order.owner) if order.owner is not None else None,
            email_hash=self._pseudonyms.of_email(order.email) if order.email else None,
            home=self.home,
            has_ended=order.status.has_ended,
        )
        return record, order

    async def order(self, record: ArchivedOrder) -> Order:
        """The order of a record, in its state at that revision."""
        return await self.order_of(fields_of(record))

    async def receipt(self, record: ArchivedOrder) -> Receipt:
        """The order of a record with its idempotency key."""
        fields = fields_of(record)
        order = await self.order_of(fields)
        return Receipt(order, fields["key"].decode(), fields["body"].decode(), is_durable=True)

    async def order_of(self, fields: Mapping[str, bytes]) -> Order:
        """The order whose hash has these fields. Raises what `OrderCodec.decode` does."""
        return await self._codec.decode(fields["doc"], fields.get("state"), fields.get("facts"))


def with_document(record: ArchivedOrder, document: bytes) -> ArchivedOrder:
    """The record with another document of the order; its members stay."""
    return msgspec.structs.replace(record, content=_encode({**fields_of(record), "doc": document}))


def erased(record: ArchivedOrder, document: bytes) -> ArchivedOrder:
    """The record with the order's document without personal data, and with no trace of its shopper."""
    fields = {**fields_of(record), "doc": document, "key": b"", "body": b""}
    if "state" in fields:
        fields["state"] = without_tracking(fields["state"])
    return msgspec.structs.replace(record, content=_encode(fields), owner_hash=None, email_hash=None)


def fields_of(record: ArchivedOrder) -> Fields:
    """The fields of the order's hash in a store."""
    return _decode(record.content)
