"""When the client gives a connection up because its server will not serve again, and when it stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from store import StoreTimeout, StoreUnavailable
from store.client import DEADLINE_S, LASTING_S, SWEEP_S
from tests.unit.store.wire import Dial, tick
from tests.virtual_time import in_virtual_time, loop_time
from tests.waiting import until

READONLY = b"-READONLY You can't write against a read only replica.\r\n"
OK = b"+OK\r\n"


async def failure_of(call: asyncio.Future[Any]) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as caught:
        await call
    return caught.value


@in_virtual_time
@pytest.mark.parametrize("code", ["READONLY", "MASTERDOWN", "UNBLOCKED"])
async def test_a_server_that_became_a_replica_is_left_at_once(dial: Dial, code: str) -> None:
    client = await dial.client()
    refused = client.execute("SET", "a", 1)
    await tick()
    dial.wire.reply(f"-{code} no\r\n".encode())
    await failure_of(refused)
    await until(lambda: len(dial.wires) == 2)
    assert dial.wires[0].aborted
    next_one = client.execute("SET", "a", 1)
    await tick()
    dial.wire.reply(OK)
    assert await next_one == b"OK"


@in_virtual_time
async def test_calls_in_flight_get_their_own_replies_and_later_ones_go_to_the_next_connection(dial: Dial) -> None:
    client = await dial.client()
    first, second, third = (client.execute("INCR", name) for name in "abc")
    await tick()
    dial.wire.reply(READONLY)
    later = client.execute("INCR", "d")
    await tick()
    assert len(dial.wire.commands()) == 3
    dial.wire.reply(b":7\r\n" + READONLY)
    assert not (await failure_of(first)).may_have_run
    assert await second == 7
    assert not (await failure_of(third)).may_have_run
    await until(lambda: len(dial.wires) == 2 and dial.wire.writes)
    assert dial.wire.commands() == [[b"INCR", b"d"]]
    dial.wire.reply(b":1\r\n")
    assert await later == 1
    assert (client.answered, client.failed) == (2, 2)


@in_virtual_time
async def test_calls_in_flight_without_a_reply_may_have_run_and_are_not_awaited_for_long(dial: Dial) -> None:
    client = await dial.client()
    held_back = client.execute_blocking("XREADGROUP", "BLOCK", 30_000, timeout_s=30.0)
    await tick()
    refused = client.execute("INCR", "a")
    await tick()
    dial.wire.reply(READONLY)
    began = loop_time()
    assert not (await failure_of(held_back)).may_have_run
    error = await failure_of(refused)
    assert error.may_have_run
    assert loop_time() - began <= 3 * SWEEP_S


@in_virtual_time
async def test_a_late_refusal_counts_as_well(dial: Dial) -> None:
    """During a planned failover writes are held back until the server is a replica: past their deadlines."""
    client = await dial.client()
    with pytest.raises(StoreTimeout):
        await client.execute("INCR", "a")
    assert loop_time() >= DEADLINE_S
    dial.wire.reply(READONLY)
    await until(lambda: len(dial.wires) == 2)


@in_virtual_time
@pytest.mark.parametrize("code", ["LOADING", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN"])
async def test_a_server_that_stays_unable_to_serve_is_left_after_some_seconds(dial: Dial, code: str) -> None:
    client = await dial.client()
    left_after = None
    while left_after is None:
        call = client.execute("GET", "a")
        await tick()
        dial.wire.reply(f"-{code} wait\r\n".encode())
        await failure_of(call)
        await asyncio.sleep(0.1)
        if len(dial.wires) > 1:
            left_after = loop_time()
    assert LASTING_S <= left_after <= LASTING_S + 0.3
    # The next server has the same time.
    call = client.execute("GET", "a")
    await tick()
    dial.wire.reply(b"-LOADING wait\r\n")
    await failure_of(call)
    await asyncio.sleep(1.0)
    assert len(dial.wires) == 2


@in_virtual_time
@pytest.mark.parametrize("code", ["OOM", "MISCONF", "BUSY", "WRONGTYPE", "NOPERM"])
async def test_a_full_or_busy_server_keeps_its_connection(dial: Dial, code: str) -> None:
    client = await dial.client()
    for _ in range(20):
        call = client.execute("SET", "a", 1)
        await tick()
        dial.wire.reply(f"-{code} no\r\n".encode())
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(LASTING_S / 5)
    assert len(dial.wires) == 1


@in_virtual_time
async def test_a_client_that_is_closed_while_it_leaves_stays_closed(dial: Dial) -> None:
    client = await dial.client()
    refused, in_flight = client.execute("SET", "a", 1), client.execute("SET", "b", 1)
    await tick()
    dial.wire.reply(READONLY)
    queued = client.execute("SET", "c", 1)
    await client.close()
    outcomes = await asyncio.gather(refused, in_flight, queued, return_exceptions=True)
    assert [outcome.may_have_run for outcome in outcomes if isinstance(outcome, StoreUnavailable)] == [
        False,
        True,
        False,
    ]
    await asyncio.sleep(1.0)
    assert len(dial.wires) == 1


@in_virtual_time
async def test_a_companion_leaves_a_hanging_server_with_its_leader_and_not_before_there_is_another(dial: Dial) -> None:
    leader, companion = await dial.client(), await dial.client(deadline_s=30.0)
    companion.accompany(leader)
    old = dial.wires[1]
    waiting, stalled = companion.execute("WAITAOF", 1, 0, 2000), leader.execute("GET", "a")
    dial.refusing = True
    with pytest.raises(StoreTimeout):
        await stalled
    await until(lambda: not leader.is_connected)
    await asyncio.sleep(1.0)
    assert not waiting.done()
    dial.refusing = False
    assert (await failure_of(waiting)).may_have_run
    assert leader.is_connected
    await until(lambda: companion.is_connected)
    assert old.aborted
    after = companion.execute("WAITAOF", 1, 0, 2000)
    await tick()
    dial.wire.reply(b":1\r\n")
    assert await after == 1


@in_virtual_time
async def test_an_idle_companion_leaves_a_replica_with_its_leader(dial: Dial) -> None:
    leader, companion = await dial.client(), await dial.client()
    companion.accompany(leader)
    refused = leader.execute("SET", "a", 1)
    await tick()
    dial.wires[0].reply(READONLY)
    await failure_of(refused)
    await until(lambda: len(dial.wires) == 4)
    assert dial.wires[1].aborted


@in_virtual_time
async def test_a_companion_stays_when_the_connection_of_its_leader_is_closed(dial: Dial) -> None:
    leader, companion = await dial.client(), await dial.client()
    companion.accompany(leader)
    dial.wires[0].hang_up()
    await until(lambda: leader.is_connected)
    await tick()
    assert not dial.wires[1].aborted
    assert len(dial.wires) == 3
