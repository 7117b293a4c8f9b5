from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.replay.cart import plan_writes

pytestmark = pytest.mark.slow

LINES = st.lists(st.tuples(st.sampled_from(["85123A", "POST", "gift_0001_40"]), st.integers(1, 2880)), min_size=1)


@given(LINES, st.integers(0, 1000))
def test_the_writes_of_a_basket_leave_its_quantities_in_the_cart(lines: list[tuple[str, int]], seed: int) -> None:
    wanted: dict[str, int] = {}
    for sku, quantity in lines:
        wanted[sku] = wanted.get(sku, 0) + quantity
    cart: dict[str, int] = {}
    for write in plan_writes(lines, Random(seed)):
        body = msgspec.json.decode(write.body)
        if write.method == "POST":
            cart[body["sku"]] = cart.get(body["sku"], 0) + body["quantity"]
        else:
            cart |= {line["sku"]: line["quantity"] for line in body}
        assert {sku: cart[sku] for sku in write.leaves} == write.leaves
    assert cart == wanted


@given(LINES, st.integers(0, 1000))
def test_every_line_is_written_once(lines: list[tuple[str, int]], seed: int) -> None:
    assert sum(write.lines for write in plan_writes(lines, Random(seed))) == len(lines)


@given(LINES, st.integers(0, 1000))
def test_the_same_seed_plans_the_same_writes(lines: list[tuple[str, int]], seed: int) -> None:
    assert plan_writes(lines, Random(seed)) == plan_writes(lines, Random(seed))
