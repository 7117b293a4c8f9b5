"""The client's counts for a breaker, and calls that a breaker does not admit."""

from __future__ import annotations

import asyncio

import pytest

from store import Client, Reason, Script, StoreOverloaded, StoreTimeout, StoreUnavailable
from store.client import DEADLINE_S, PROBE_KEY, PROBE_TTL_MS, STALLED_S, SWEEP_S
from tests.unit.store.wire import Dial, tick
from tests.virtual_time import in_virtual_time, loop_time
from tests.waiting import until

OK = b"+OK\r\n"


def counted(client: Client) -> tuple[int, int]:
    return client.answered, client.failed


@in_virtual_time
async def test_replies_are_counted_and_an_error_reply_is_one(dial: Dial) -> None:
    client = await dial.client()
    calls = [client.execute("GET", n) for n in range(4)]
    await tick()
    dial.wire.reply(OK * 3 + b"-WRONGTYPE not so\r\n")
    await asyncio.gather(*calls, return_exceptions=True)
    assert counted(client) == (4, 0)


@in_virtual_time
async def test_a_reply_that_the_server_cannot_serve_counts_as_a_failure(dial: Dial) -> None:
    client = await dial.client()
    calls = [client.execute("GET", n) for n in range(3)]
    await tick()
    dial.wire.reply(OK + b"-LOADING wait\r\n" + OK)
    await asyncio.gather(*calls, return_exceptions=True)
    assert counted(client) == (2, 1)


@pytest.mark.parametrize("refusal", ["OOM command not allowed", "MISCONF Errors writing to the AOF file"])
@in_virtual_time
async def test_a_write_that_a_full_server_refuses_is_no_failure_because_it_serves_reads(
    dial: Dial, refusal: str
) -> None:
    client = await dial.client()
    calls = [client.execute("SET", "a", 1), client.execute("GET", "a")]
    await tick()
    dial.wire.reply(f"-{refusal}\r\n".encode() + OK)
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(errors[0], StoreUnavailable)
    assert errors[0].reason.is_full
    assert not errors[0].may_have_run
    assert (counted(client), client.refused) == ((2, 0), 1)


@in_virtual_time
async def test_a_late_reply_counts_as_one_failure_and_not_as_a_reply(dial: Dial) -> None:
    client = await dial.client()
    late = client.execute("GET", "a")
    with pytest.raises(StoreTimeout):
        await late
    assert counted(client) == (0, 1)
    dial.wire.reply(OK)
    assert counted(client) == (0, 1)


@in_virtual_time
async def test_a_cancelled_call_is_not_counted(dial: Dial) -> None:
    client = await dial.client()
    given_up = client.execute("GET", "a")
    await tick()
    given_up.cancel()
    dial.wire.reply(OK)
    assert counted(client) == (0, 0)


@in_virtual_time
async def test_calls_lost_with_the_connection_count_as_failures(dial: Dial) -> None:
    client = await dial.client()
    calls = [client.execute("GET", n) for n in range(3)]
    await tick()
    dial.wire.hang_up()
    await asyncio.gather(*calls, return_exceptions=True)
    assert counted(client) == (0, 3)


@in_virtual_time
async def test_calls_not_sent_in_time_count_as_failures(dial: Dial) -> None:
    client = await dial.client()
    dial.refusing = True
    dial.wire.hang_up()
    with pytest.raises(StoreTimeout):
        await client.execute("GET", "a")
    assert counted(client) == (0, 1)


@in_virtual_time
async def test_a_script_that_had_to_be_loaded_counts_as_one_reply(dial: Dial) -> None:
    client = await dial.client()
    call = client.run(Script("return 1"), ["key"])
    await tick()
    dial.wire.reply(b"-NOSCRIPT no such\r\n")
    await tick()
    dial.wire.reply(b":1\r\n")
    assert await call == 1
    assert counted(client) == (1, 0)


@in_virtual_time
async def test_calls_that_are_not_admitted_fail_at_once_and_nothing_is_sent(dial: Dial) -> None:
    client = await dial.client()
    client.admit_only(lambda: False)
    began = loop_time()
    with pytest.raises(StoreUnavailable) as refused:
        await client.execute("GET", "a")
    assert not refused.value.may_have_run
    assert loop_time() == began
    await tick()
    assert not dial.wire.writes
    assert counted(client) == (0, 0)


@in_virtual_time
async def test_admitted_calls_are_sent(dial: Dial) -> None:
    client = await dial.client(max_waiting=1)
    client.admit_only(lambda: True)
    first = client.execute("GET", "a")
    with pytest.raises(StoreOverloaded):
        await client.execute("GET", "b")
    await tick()
    dial.wire.reply(OK)
    assert await first == b"OK"
    client.admit_only(None)
    second = client.execute("GET", "a")
    await tick()
    dial.wire.reply(OK)
    assert await second == b"OK"


@in_virtual_time
async def test_a_ping_is_sent_while_no_call_is_admitted(dial: Dial) -> None:
    client = await dial.client()
    client.admit_only(lambda: False)
    sign = client.ping()
    await tick()
    assert dial.wire.commands() == [[b"PING"]]
    dial.wire.reply(b"+PONG\r\n")
    assert await sign == b"PONG"


@in_virtual_time
async def test_a_probe_is_a_write_and_is_sent_while_no_call_is_admitted(dial: Dial) -> None:
    client = await dial.client()
    client.admit_only(lambda: False)
    probe = client.probe()
    await tick()
    assert dial.wire.commands() == [[b"SET", PROBE_KEY.encode(), b"1", b"PX", b"%d" % PROBE_TTL_MS]]
    dial.wire.reply(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n")
    with pytest.raises(StoreUnavailable) as refused:
        await probe
    assert refused.value.reason is Reason.FULL_MEMORY
    again = client.probe()
    await tick()
    dial.wire.reply(OK)
    assert await again == b"OK"


@in_virtual_time
async def test_a_refusal_of_the_breaker_and_a_late_reply_have_their_reasons(dial: Dial) -> None:
    client = await dial.client()
    with pytest.raises(StoreUnavailable) as late:
        await client.execute("GET", "a")
    assert late.value.reason is Reason.TIMEOUT
    client.admit_only(lambda: False)
    with pytest.raises(StoreUnavailable) as refused:
        await client.execute("GET", "a")
    assert refused.value.reason is Reason.CUT_OFF


@in_virtual_time
async def test_a_closed_client_sends_no_ping_and_admits_no_call(dial: Dial) -> None:
    client = await dial.client()
    await client.close()
    client.admit_only(None)
    for call in (client.ping(), client.probe(), client.execute("GET", "a")):
        with pytest.raises(StoreUnavailable, match="closed"):
            await call


@in_virtual_time
async def test_the_time_of_the_oldest_call_is_known(dial: Dial) -> None:
    client = await dial.client()
    assert client.oldest_queued_at is None
    began = loop_time()
    first = client.execute("GET", "a")
    await asyncio.sleep(0.1)
    second = client.execute("GET", "b")
    assert client.oldest_queued_at == pytest.approx(began)
    dial.wire.reply(OK)
    await first
    assert client.oldest_queued_at == pytest.approx(began + 0.1)
    dial.wire.reply(OK)
    await second
    assert client.oldest_queued_at is None


@in_virtual_time
async def test_the_connection_to_a_hanging_server_is_closed_while_no_call_is_admitted(dial: Dial) -> None:
    client = await dial.client()
    call = client.execute("GET", "a")
    client.admit_only(lambda: False)
    with pytest.raises(StoreTimeout):
        await call
    await asyncio.sleep(DEADLINE_S + STALLED_S + 2 * SWEEP_S)
    await until(lambda: len(dial.wires) == 2)
