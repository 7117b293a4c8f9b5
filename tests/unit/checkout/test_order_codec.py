"""The documents of orders: what is sealed in them, and which are read."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.ids import new_cart_id, order_id_for
from cart.model import Sku
from checkout.amounts import OrderLine
from checkout.order import Address, HistoryEntry, Order
from checkout.order_status import OrderStatus
from checkout.ports.keys import SealBroken
from checkout.privacy.memory_keys import MemoryKeys
from checkout.privacy.order_codec import OrderCodec, key_of, without_personal
from checkout.privacy.sealer import Sealer
from checkout.stored import encode_order

CANARY = "Canary"


def an_order() -> Order:
    cart_id = new_cart_id()
    return Order(
        id=order_id_for(cart_id, 1),
        cart_id=cart_id,
        currency="GBP",
        # A name that looks like the sealed member.
        lines=(OrderLine(Sku("85123A"), 'mug,"sealed":{"key":"', 2, 255),),
        shipping_method="standard",
        shipping=0,
        email=f"{CANARY}@example.com",
        shipping_address=Address(
            name=CANARY, line1=CANARY, line2=CANARY, city=CANARY, postcode=CANARY, country=f"{CANARY}land"
        ),
        payment_token=f"tok_{CANARY}",
        created_at=1,
        updated_at=1,
        history=(HistoryEntry(OrderStatus.ACCEPTED, 1),),
        owner=f"{CANARY}|1",
    )


@pytest.fixture
def codec() -> OrderCodec:
    return OrderCodec(Sealer(MemoryKeys()))


async def test_an_order_is_decoded_as_it_was(codec: OrderCodec) -> None:
    for order in (an_order(), msgspec.structs.replace(an_order(), owner=None)):
        assert await codec.decode(await codec.encode(order)) == order


async def test_no_personal_member_is_plain_and_the_others_are(codec: OrderCodec) -> None:
    order = an_order()
    document = await codec.encode(order)
    assert CANARY.encode() not in document
    members = msgspec.json.decode(document)
    assert members.keys() == {*msgspec.json.decode(encode_order(without_personal(order))), "sealed"}
    assert members["lines"] == list(msgspec.to_builtins(order.lines))
    assert key_of(document) == "memory.1"


async def test_every_member_of_an_order_is_public_or_sealed() -> None:
    """A new member is public unless it is added to `Personal`: so decide it here as well."""
    public = {
        "id", "cart_id", "currency", "lines", "shipping_method", "shipping", "created_at", "updated_at", "history",
        "status", "reason", "erased_at", "shipment", "payment", "restocked", "line_returns", "workflow", "revision", "facts", "home",
        "discounts", "tax",
    }  # fmt: skip
    personal = {"email", "shipping_address", "payment_token", "owner"}
    assert set(Order.__struct_fields__) == public | personal


async def test_a_plain_document_of_an_earlier_version_is_read(codec: OrderCodec) -> None:
    order = an_order()
    document = encode_order(order)
    assert await codec.decode(document) == order
    assert key_of(document) is None


async def test_the_sealed_member_of_another_order_is_refused(codec: OrderCodec) -> None:
    one, other = await codec.encode(an_order()), await codec.encode(an_order())
    mixed = one[: one.rfind(b',"sealed":')] + other[other.rfind(b',"sealed":') :]
    with pytest.raises(SealBroken):
        await codec.decode(mixed)


async def test_an_erased_order_has_no_personal_members(codec: OrderCodec) -> None:
    erased = msgspec.structs.replace(without_personal(an_order()), erased_at=7)
    document = await codec.encode(erased)
    assert b"sealed" not in document.replace(b'\\"sealed\\"', b"")
    assert await codec.decode(document) == erased


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(email=_TEXTS, line1=_TEXTS, token=_TEXTS, owner=st.none() | _TEXTS)
async def test_any_text_is_decoded_as_it_was(email: str, line1: str, token: str, owner: str | None) -> None:
    address = msgspec.structs.replace(an_order().shipping_address, line1=line1)
    order = msgspec.structs.replace(an_order(), email=email, shipping_address=address, payment_token=token, owner=owner)
    codec = OrderCodec(Sealer(MemoryKeys()))
    document = await codec.encode(order)
    assert await codec.decode(document, order_id=order.id) == order
