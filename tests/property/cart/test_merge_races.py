"""Whatever calls meet in whatever order, and whichever of them are killed: no unit is lost, none is doubled."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from cart.errors import Refusal
from cart.ids import new_cart_id
from cart.model import Cart, CartId, Limits, Line, Sku
from cart.ports import Write
from cart.redis_carts import RedisCarts
from store import Store, StoreOverloaded, StoreUnavailable
from tests.contract.cart.stores import KilledStore, Racer, race

T0 = 1_795_759_200_000
WRITE = Write(now=T0, limits=Limits())
CARTS = 3
NEVER_KILLED = 1000


class RacingCall(Struct, frozen=True):
    """A call of a client: merges cart `source` into cart `target`, or adds to `target` if they are the same."""

    target: int
    source: int
    killed_at: int
    after_running: bool


racing_calls = st.builds(
    RacingCall,
    target=st.integers(0, CARTS - 1),
    source=st.integers(0, CARTS - 1),
    killed_at=st.integers(0, 6) | st.just(NEVER_KILLED),
    after_running=st.booleans(),
)


async def made(store: Store, *lines: Line) -> CartId:
    cart = Cart(id=new_cart_id(), currency="GBP", created_at=T0, updated_at=T0)
    await RedisCarts(store).create(cart, limits=WRITE.limits)
    return (await RedisCarts(store).set_lines(cart.id, lines, currency="GBP", write=WRITE)).id


async def usable_units(store: Store, cart_ids: list[CartId]) -> Counter[Sku]:
    units: Counter[Sku] = Counter()
    for cart_id in cart_ids:
        cart = await RedisCarts(store).read(cart_id)
        if cart.status == "open":
            units.update({line.sku: line.quantity for line in cart.lines})
    return units


def racer_of(racing_call: RacingCall, number: int, cart_ids: list[CartId]) -> Racer:
    async def run(store: Store) -> object:
        carts = RedisCarts(KilledStore(store, at=racing_call.killed_at, after_running=racing_call.after_running))
        target, source = cart_ids[racing_call.target], cart_ids[racing_call.source]
        if target == source:
            return await carts.add_line(target, Line(Sku(f"added {number}"), 1, 5), currency="GBP", write=WRITE)
        return await carts.merge(target, source, "sum", write=WRITE)

    return run


@given(st.lists(racing_calls, min_size=2, max_size=5), st.lists(st.integers(0, 4), max_size=40))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_unit_is_lost_and_none_doubled(store: Store, raced: list[RacingCall], order: list[int]) -> None:
    cart_ids = [await made(store, Line(Sku(f"own {n}"), 1, 5), Line(Sku("shared"), 10**n, 5)) for n in range(CARTS)]
    before = await usable_units(store, cart_ids)
    racers = [racer_of(racing_call, number, cart_ids) for number, racing_call in enumerate(raced)]
    results, _ = await race(store, racers, order)

    expected, uncertain = before, set()
    for number, (racing_call, result) in enumerate(zip(raced, results, strict=True)):
        assert isinstance(result, Cart | Refusal | StoreUnavailable | StoreOverloaded), result
        if racing_call.target == racing_call.source and isinstance(result, Cart):
            expected += Counter({Sku(f"added {number}"): 1})
        if racing_call.target == racing_call.source and isinstance(result, StoreUnavailable):
            uncertain.add(Sku(f"added {number}"))
    for _, cart_id in itertools.product(range(2), cart_ids):
        after = await usable_units(store, cart_ids)
        assert after - expected <= Counter(uncertain)
        assert expected - after == Counter()
        await RedisCarts(store).settle(cart_id)
