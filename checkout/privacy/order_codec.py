"""The document of an order, as the store and the archive keep it: public members in plain JSON, and one sealed member.

    {"id": …, "cart_id": …, "currency": …, "lines": […], …, "sealed": {"key": "<wrapped data key>", "data": "<base64>"}}

Sealed are the members of `Personal`. A document without `sealed` has them in plain JSON, as all had
before, or not at all, once they were erased.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cart.model import OrderId
from checkout.order import NO_ADDRESS, Order
from checkout.ports.keys import SealBroken, Sealed, Sealing, wrapping_key_of
from checkout.privacy.personal import Personal
from checkout.stored import decode_order, encode_order

# An encoder escapes quotes inside of texts, so no text of a shopper contains this.
_MEMBER: Final = b',"sealed":'


_encode: Final = msgspec.json.Encoder().encode
_decode_personal: Final = msgspec.json.Decoder(Personal).decode
_decode_sealed: Final = msgspec.json.Decoder(Sealed).decode


class OrderCodec:
    """Encodes orders for storage, and decodes them.

    Without `sealing`, which only tests go without, documents are plain. Both calls raise `KeysUnavailable`; they wait only
    for a data key that is not in memory.
    """

    def __init__(self, sealing: Sealing | None = None) -> None:
        self._sealing = sealing

    async def encode(self, order: Order) -> bytes:
        """The document of an order in the status that it has here."""
        if self._sealing is None or order.erased_at is not None:
            return encode_order(order)
        personal = Personal(order.email, order.shipping_address, order.payment_token, order.owner)
        sealed = await self._sealing.seal(order.id, _encode(personal))
        return b"%b%b%b}" % (encode_order(without_personal(order))[:-1], _MEMBER, _encode(sealed))

    async def decode(
        self, doc: bytes, state: bytes | None = None, facts: bytes | None = None, *, order_id: OrderId | None = None
    ) -> Order:
        """The order in its current state; see `decode_order`.

        Raises `SealBroken` too, also if it is not the order `order_id`: a document that was copied to another order.
        """
        order = decode_order(doc, state, facts)
        if order_id is not None and order.id != order_id:
            raise SealBroken(f"the document of order {order_id} is that of another order")
        sealed = sealed_of(doc)
        if sealed is None:
            return order
        if self._sealing is None:
            raise ValueError(f"the personal data of order {order.id} is sealed, and there are no keys")
        personal = _decode_personal(await self._sealing.open(order.id, sealed))
        return msgspec.structs.replace(
            order,
            email=personal.email,
            shipping_address=personal.shipping_address,
            payment_token=personal.payment_token,
            owner=personal.owner,
        )


def without_personal(order: Order) -> Order:
    """The order with empty personal members, which its document then leaves out."""
    return msgspec.structs.replace(order, email="", shipping_address=NO_ADDRESS, payment_token="", owner=None)


def sealed_of(doc: bytes) -> Sealed | None:
    """The sealed member of a document, None if it has none. It is the last one, and most of the document is skipped."""
    at = doc.rfind(_MEMBER)
    return None if at < 0 else _decode_sealed(memoryview(doc)[at + len(_MEMBER) : -1])


def key_of(doc: bytes) -> str | None:
    """The name of the wrapping key of a document, None if it is not sealed."""
    sealed = sealed_of(doc)
    return None if sealed is None else wrapping_key_of(sealed.key)
