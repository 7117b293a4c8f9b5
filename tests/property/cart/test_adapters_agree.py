"""Carts in Redis, written by two processes in turn, go through the same states as carts in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cart.errors import ForeignCurrency, Refusal
from cart.idempotency import keyed
from cart.ids import new_cart_id
from cart.memory import MemoryCarts
from cart.model import DAY_MS, Cart, CartId, Limits, Line, Sku, Strategy
from cart.ports import Carts, Write
from cart.redis_carts import RedisCarts
from cart.stored import cart_key
from store import Store

T0 = 1_795_759_200_000
LIMITS = Limits(max_lines=4, max_quantity=9)
CARTS = 2
OWNERS = [None, "ada", "bob"]

Operation = Callable[[Carts, list[CartId], Write], Awaitable[Cart | None]]

skus = st.sampled_from([Sku("85123A"), Sku("BANK CHARGES"), Sku("é" * 32), Sku("{x}"), Sku("0"), Sku("-1")])
lines = st.builds(Line, sku=skus, quantity=st.integers(1, 10), quoted=st.sampled_from([0, 1, 255, 10**12]))
which = st.integers(0, CARTS - 1)
currencies = st.sampled_from(["GBP"] * 9 + ["EUR"])


@st.composite
def adds(draw: st.DrawFn) -> Operation:
    cart, line, currency = draw(which), draw(lines), draw(currencies)
    return lambda carts, ids, write: carts.add_line(ids[cart], line, currency=currency, write=write)


@st.composite
def sets(draw: st.DrawFn) -> Operation:
    cart, currency = draw(which), draw(currencies | st.none())
    wanted = draw(
        st.lists(
            st.builds(Line, sku=skus, quantity=st.integers(0, 10), quoted=st.sampled_from([1, 255])),
            unique_by=lambda line: line.sku,
            max_size=5,
        )
    )
    return lambda carts, ids, write: carts.set_lines(ids[cart], wanted, currency=currency, write=write)


@st.composite
def removes(draw: st.DrawFn) -> Operation:
    cart, sku = draw(which), draw(skus)
    return lambda carts, ids, write: carts.remove_line(ids[cart], sku, write=write)


@st.composite
def merges(draw: st.DrawFn) -> Operation:
    cart = draw(which)
    strategies: list[Strategy] = ["sum", "max", "keep"]
    strategy = draw(st.sampled_from(strategies))
    return lambda carts, ids, write: carts.merge(ids[cart], ids[1 - cart], strategy, write=write)


@st.composite
def deletes(draw: st.DrawFn) -> Operation:
    cart = draw(which)
    return lambda carts, ids, write: carts.delete(ids[cart], write=write)


operations = st.one_of(adds(), adds(), sets(), sets(), removes(), merges(), deletes())
turns = st.tuples(
    operations,
    st.integers(0, 1),  # which process
    st.sampled_from([None] * 8 + [-1, 1, 2, 3]),  # If-Match
    st.sampled_from([0] * 8 + [1, 2]),  # who asks
)


async def outcome(call: Awaitable[Cart | None]) -> object:
    """What the call came to; a refusal with its facts."""
    try:
        return await call
    except (Refusal, ForeignCurrency) as refused:
        return type(refused), vars(refused)


@given(st.sampled_from([0, 0, 1]), st.lists(turns, max_size=25))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_memory_and_redis_have_the_same_states(
    store: Store, owner: int, played: list[tuple[Operation, int, int | None, int]]
) -> None:
    memory, processes = MemoryCarts(clock_ms=lambda: T0), [RedisCarts(store), RedisCarts(store, cached_lines=24)]
    new = [
        Cart(id=new_cart_id(), currency="GBP", created_at=T0, updated_at=T0, owner=OWNERS[owner]) for _ in range(CARTS)
    ]
    ids = [cart.id for cart in new]
    for cart in new:
        await memory.create(cart, limits=LIMITS)
        await processes[0].create(cart, limits=LIMITS)

    for now, (operation, process, if_match, asked_by) in enumerate(played, start=T0 + 1):
        write = Write(now=now, limits=LIMITS, if_match=if_match, owner=OWNERS[(owner + asked_by) % 3])
        if now % 3 == 0:  # so two keys are repeated, and reused for another write
            write = keyed(write, f"k{now % 6}", process)
        wanted = await outcome(operation(memory, ids, write))
        assert await outcome(operation(processes[process], ids, write)) == wanted
        for cart_id in ids:
            expected = await outcome(memory.read(cart_id, owner=OWNERS[owner]))
            assert await outcome(processes[process].read(cart_id, owner=OWNERS[owner])) == expected
            if isinstance(expected, Cart):
                # By the clock of the server; a cart lives for weeks after a change, and the test for minutes.
                lifetime_ms = expected.lifetime_ms(LIMITS)
                assert lifetime_ms - DAY_MS < await store.execute("PTTL", cart_key(cart_id)) <= lifetime_ms
