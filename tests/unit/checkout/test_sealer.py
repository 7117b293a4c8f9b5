"""Sealing: how long a data key is used, and what happens while the wrapping keys are away."""

from __future__ import annotations

import asyncio
import logging

import pytest

from cart.ids import new_cart_id, order_id_for
from cart.model import OrderId
from checkout.ports.keys import KeysUnavailable, SealBroken, Sealed, wrapping_key_of
from checkout.privacy.memory_keys import MemoryKeys
from checkout.privacy.sealer import NONCES_DRAWN, RENEW_S, RETRY_S, Sealer

TEXT = b"12 St James's Square"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def an_id() -> OrderId:
    return order_id_for(new_cart_id(), 1)


@pytest.fixture
def keys() -> MemoryKeys:
    return MemoryKeys()


async def test_what_was_sealed_is_opened_and_does_not_show_the_text(keys: MemoryKeys) -> None:
    order_id, sealer = an_id(), Sealer(keys)
    sealed = await sealer.seal(order_id, TEXT)
    assert TEXT not in sealed.data
    assert len(sealed.data) == 12 + len(TEXT) + 16
    assert await sealer.open(order_id, sealed) == TEXT


async def test_another_process_opens_it(keys: MemoryKeys) -> None:
    order_id = an_id()
    assert await Sealer(keys).open(order_id, await Sealer(keys).seal(order_id, TEXT)) == TEXT


async def test_the_same_text_is_never_sealed_the_same(keys: MemoryKeys) -> None:
    order_id, sealer = an_id(), Sealer(keys)
    sealed = [await sealer.seal(order_id, TEXT) for _ in range(3 * NONCES_DRAWN)]
    assert len({each.data[:12] for each in sealed}) == 3 * NONCES_DRAWN


async def test_it_belongs_to_its_order_and_to_no_other(keys: MemoryKeys) -> None:
    sealer = Sealer(keys)
    sealed = await sealer.seal(an_id(), TEXT)
    with pytest.raises(SealBroken):
        await sealer.open(an_id(), sealed)


async def test_a_changed_bit_and_a_cut_end_are_noticed(keys: MemoryKeys) -> None:
    order_id, sealer = an_id(), Sealer(keys)
    sealed = await sealer.seal(order_id, TEXT)
    flipped = sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])
    for data in (flipped, sealed.data[:-1], sealed.data[:11], b""):
        with pytest.raises(SealBroken):
            await sealer.open(order_id, Sealed(sealed.key, data))


async def test_one_data_key_seals_many_orders_and_then_another_one(keys: MemoryKeys) -> None:
    sealer = Sealer(keys, max_orders=3)
    used = [(await sealer.seal(an_id(), TEXT)).key for _ in range(7)]
    assert [len(set(used)), used.count(used[0]), keys.calls] == [3, 3, 3]


async def test_many_that_wait_for_the_first_data_key_make_one_call(keys: MemoryKeys) -> None:
    sealer = Sealer(keys)
    await asyncio.gather(*(sealer.seal(an_id(), TEXT) for _ in range(50)))
    assert keys.calls == 1


async def test_the_limit_of_a_data_key_holds_for_those_who_wait_together(keys: MemoryKeys) -> None:
    sealer = Sealer(keys, max_orders=3)
    used = [sealed.key for sealed in await asyncio.gather(*(sealer.seal(an_id(), TEXT) for _ in range(10)))]
    assert max(map(used.count, used)) <= 3


async def test_a_key_that_was_unwrapped_is_cached_until_its_time_is_over(keys: MemoryKeys) -> None:
    order_id, clock = an_id(), Clock()
    sealed = await Sealer(keys).seal(order_id, TEXT)
    reader = Sealer(keys, clock=clock)
    await asyncio.gather(*(reader.open(order_id, sealed) for _ in range(20)))
    assert keys.calls == 2
    clock.now = RENEW_S
    await reader.open(order_id, sealed)
    assert keys.calls == 3


async def test_after_an_hour_a_new_data_key_is_made_without_a_wait(keys: MemoryKeys) -> None:
    clock = Clock()
    sealer = Sealer(keys, clock=clock)
    first = await sealer.seal(an_id(), TEXT)
    clock.now = RENEW_S
    assert (await sealer.seal(an_id(), TEXT)).key == first.key
    await asyncio.sleep(0)
    assert (await sealer.seal(an_id(), TEXT)).key != first.key


async def test_while_the_keys_are_away_the_data_key_is_used_further_up_to_its_limit(
    keys: MemoryKeys, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    sealer = Sealer(keys, clock=clock, max_orders=5)
    first = await sealer.seal(an_id(), TEXT)
    keys.is_away, clock.now = True, RENEW_S
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            assert (await sealer.seal(an_id(), TEXT)).key == first.key
            await asyncio.sleep(0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with pytest.raises(KeysUnavailable):
        await sealer.seal(an_id(), TEXT)
    keys.is_away = False
    clock.now += RETRY_S
    assert (await sealer.seal(an_id(), TEXT)).key != first.key


async def test_another_wrapping_key_is_used_at_once(keys: MemoryKeys) -> None:
    sealer, order_id = Sealer(keys), an_id()
    old = await sealer.seal(order_id, TEXT)
    keys.rotate()
    new = await sealer.seal(order_id, TEXT)
    assert [wrapping_key_of(old.key), wrapping_key_of(new.key)] == ["memory.1", "memory.2"]
    assert await sealer.open(order_id, old) == TEXT


async def test_whoever_leaves_while_a_key_is_fetched_does_not_end_it_for_others(keys: MemoryKeys) -> None:
    sealer = Sealer(keys)
    leaving = asyncio.create_task(sealer.seal(an_id(), TEXT))
    staying = asyncio.create_task(sealer.seal(an_id(), TEXT))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).key
