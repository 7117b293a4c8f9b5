from __future__ import annotations

import msgspec
import pytest

from cart.bodies import AddLine, MergeCart, NewCart, PutLine, SetLine


def test_bodies_are_read_as_the_api_writes_them() -> None:
    decode = msgspec.json.decode
    assert decode(b"{}", type=NewCart) == NewCart(None)
    assert decode(b'{"currency":"EUR"}', type=NewCart) == NewCart("EUR")
    assert decode(b'{"sku":"BANK CHARGES","quantity":1}', type=AddLine) == AddLine("BANK CHARGES", 1)
    assert decode(b'{"quantity":0}', type=PutLine) == PutLine(0)
    assert decode(b'[{"sku":"a","quantity":0}]', type=list[SetLine]) == [SetLine("a", 0)]
    assert decode(b'{"from":"x","strategy":"keep"}', type=MergeCart) == MergeCart("x", "keep")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (NewCart, '{"currency":5}'),
        (NewCart, '{"owner":"ada"}'),
        (AddLine, "{}"),
        (AddLine, '{"sku":"a"}'),
        (AddLine, '{"sku":"","quantity":1}'),
        (AddLine, '{"sku":"' + "x" * 65 + '","quantity":1}'),
        (AddLine, '{"sku":"a","quantity":0}'),
        (AddLine, '{"sku":"a","quantity":-1}'),
        (AddLine, '{"sku":"a","quantity":1.5}'),
        (AddLine, '{"sku":"a","quantity":true}'),
        (AddLine, '{"sku":"a","quantity":"1"}'),
        (AddLine, '{"sku":"a","quantity":1,"price":1}'),
        (PutLine, '{"quantity":-1}'),
        (PutLine, '{"quantity":null}'),
        (MergeCart, '{"from":"x"}'),
        (MergeCart, '{"from":"x","strategy":"min"}'),
        (MergeCart, '{"source":"x","strategy":"sum"}'),
    ],
)
def test_a_malformed_body_is_rejected(kind: type, body: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=kind)
