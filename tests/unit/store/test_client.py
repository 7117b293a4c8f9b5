"""The multiplexed client on a fake connection, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import pytest

from primitives.tracing.spans import SERVER, enter
from primitives.tracing.tracer import Tracer
from store import ReplyError, Script, StoreError, StoreOverloaded, StoreTimeout, StoreUnavailable
from store.client import DEADLINE_S, MAX_RECONNECT_S, STALLED_S, SWEEP_S
from tests.unit.store.wire import Dial, tick
from tests.virtual_time import in_virtual_time, loop_time, pause
from tests.waiting import until

OK = b"+OK\r\n"


async def failure_of(call: asyncio.Future[Any]) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await call
    return caught.value


async def let_pass(seconds: float) -> None:
    """Virtual seconds."""
    await asyncio.sleep(seconds)


# Writing and matching


@in_virtual_time
async def test_the_commands_of_one_tick_are_sent_in_one_write(dial: Dial) -> None:
    client = await dial.client()
    calls = [client.execute("SET", f"key{n}", n) for n in range(50)]
    calls.append(client.run(Script("return 1"), ["key"], ["arg"]))
    await tick()
    assert len(dial.wire.writes) == 1
    assert len(dial.wire.commands()) == 51
    dial.wire.reply(OK * 51)
    assert await asyncio.gather(*calls) == [b"OK"] * 51


@in_virtual_time
async def test_the_commands_of_the_next_tick_are_sent_in_the_next_write(dial: Dial) -> None:
    client = await dial.client()
    first = client.execute("GET", "a")
    await tick()
    second = client.execute("GET", "b")
    await tick()
    assert len(dial.wire.writes) == 2
    dial.wire.reply(b"+a\r\n+b\r\n")
    assert [await first, await second] == [b"a", b"b"]


@in_virtual_time
async def test_replies_are_matched_to_calls_in_order_in_all_splittings(dial: Dial) -> None:
    client = await dial.client()
    calls = [client.execute("GET", n) for n in range(20)]
    await tick()
    for byte in b"".join(b"$%d\r\n%d\r\n" % (len(str(n)), n) for n in range(20)):
        dial.wire.reply(bytes([byte]))
    assert await asyncio.gather(*calls) == [b"%d" % n for n in range(20)]


@in_virtual_time
async def test_a_cancelled_caller_does_not_shift_the_replies_of_the_others(dial: Dial) -> None:
    client = await dial.client()
    before, given_up, after = (client.execute("GET", name) for name in "abc")
    await tick()
    given_up.cancel()
    dial.wire.reply(b"+a\r\n+b\r\n+c\r\n")
    assert [await before, await after] == [b"a", b"c"]


@in_virtual_time
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("LOADING", "loading"),
        ("BUSY", "busy"),
        ("OOM", "full-memory"),
        ("MISCONF", "full-disk"),
        ("READONLY", "readonly"),
        ("MASTERDOWN", "readonly"),
        ("UNBLOCKED", "readonly"),
        ("NOREPLICAS", "too-few-replicas"),
        ("CLUSTERDOWN", "cluster-down"),
        ("TRYAGAIN", "cluster-down"),
    ],
)
async def test_a_server_that_cannot_serve_now_is_unavailable_and_has_run_nothing(
    dial: Dial, code: str, reason: str
) -> None:
    client = await dial.client()
    call = client.run(Script("return 1"), ["key"])
    await tick()
    dial.wire.reply(f"-{code} not now\r\n".encode())
    error = await failure_of(call)
    assert isinstance(error, StoreUnavailable)
    assert not error.may_have_run
    assert error.reason == reason
    assert error.reason.is_full == reason.startswith("full")
    assert str(error) == f"the store cannot serve now: {code} not now"


@in_virtual_time
async def test_a_caller_past_its_deadline_does_not_shift_the_replies_of_the_others(dial: Dial) -> None:
    client = await dial.client()
    late = client.execute("GET", "late")
    error = await failure_of(late)
    assert isinstance(error, StoreTimeout)
    assert error.may_have_run
    assert DEADLINE_S <= loop_time() <= DEADLINE_S + 3 * SWEEP_S
    next_one = client.execute("GET", "next")
    await tick()
    dial.wire.reply(b"+late\r\n+next\r\n")
    assert await next_one == b"next"
    assert len(dial.wires) == 1


@in_virtual_time
async def test_every_call_gets_its_own_reply_among_cancelled_and_expired_calls(dial: Dial) -> None:
    client = await dial.client(deadline_s=0.05)
    chance = random.Random(7)
    wrong: list[object] = []
    answered = given_up = 0

    async def caller(n: int) -> None:
        nonlocal answered, given_up
        await asyncio.sleep(chance.uniform(0, 2))
        try:
            async with asyncio.timeout(chance.choice([0.001, 0.01, 10])):
                reply = await client.execute("ECHO", n)
        except (TimeoutError, StoreTimeout):
            given_up += 1
        else:
            answered += 1
            if reply != n:
                wrong.append((n, reply))

    async def server() -> None:
        while True:
            await asyncio.sleep(chance.choice([0, 0.001, 0.02, 0.09]))
            for command in dial.wire.commands():
                dial.wire.reply(b":%d\r\n" % int(command[1]))

    serving = asyncio.create_task(server())
    await asyncio.gather(*(caller(n) for n in range(2_000)))
    serving.cancel()
    assert not wrong
    assert answered > 200
    assert given_up > 200
    assert len(dial.wires) == 1


@in_virtual_time
async def test_a_push_message_is_not_a_reply(dial: Dial) -> None:
    client = await dial.client()
    call = client.execute("GET", "a")
    await tick()
    dial.wire.reply(b">2\r\n+invalidate\r\n+x\r\n+mine\r\n")
    assert await call == b"mine"


@in_virtual_time
async def test_an_error_reply_is_raised_with_its_code(dial: Dial) -> None:
    client = await dial.client()
    refused, fine = client.execute("SET", "a", 1), client.execute("GET", "a")
    await tick()
    dial.wire.reply(b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n+fine\r\n")
    error = await failure_of(refused)
    assert isinstance(error, ReplyError)
    assert error.code == "WRONGTYPE"
    assert await fine == b"fine"


@in_virtual_time
async def test_an_error_that_is_not_awaited_is_not_logged(dial: Dial) -> None:
    noise: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: noise.append(context))
    client = await dial.client()
    client.execute("GET", "a")
    client.execute("GET", "b")
    await tick()
    dial.wire.reply(b"-ERR no\r\n")
    dial.wire.hang_up()
    await client.close()
    client.execute("GET", "c")
    await tick()
    gc.collect()
    assert not noise


# Deadlines and bounds


@in_virtual_time
async def test_a_blocking_call_has_its_timeout_added_to_the_deadline(dial: Dial) -> None:
    client = await dial.client()
    waiting = client.execute_blocking("XREADGROUP", "BLOCK", 5000, timeout_s=5.0)
    await let_pass(5.0)
    assert not waiting.done()
    dial.wire.reply(b"_\r\n")
    assert await waiting is None


@in_virtual_time
async def test_a_call_after_a_blocking_call_has_its_own_deadline(dial: Dial) -> None:
    client = await dial.client()
    held_back = client.execute_blocking("BLPOP", "a", 5, timeout_s=5.0)
    behind = client.execute("GET", "b")
    assert isinstance(await failure_of(behind), StoreTimeout)
    assert loop_time() <= DEADLINE_S + 3 * SWEEP_S
    dial.wire.reply(b"_\r\n+b\r\n")
    assert await held_back is None


@in_virtual_time
async def test_calls_over_the_limit_are_rejected_at_once_and_never_sent(dial: Dial) -> None:
    client = await dial.client(max_waiting=3)
    calls = [client.execute("GET", n) for n in range(3)]
    refused = client.execute("GET", "too many")
    assert refused.done()
    assert isinstance(await failure_of(refused), StoreOverloaded)
    await tick()
    assert len(dial.wire.commands()) == 3
    dial.wire.reply(OK)
    assert await calls[0] == b"OK"
    again = client.execute("GET", "room again")
    await tick()
    dial.wire.reply(OK * 3)
    assert await again == b"OK"


@in_virtual_time
async def test_cancelled_calls_count_towards_the_limit_until_their_replies_arrive(dial: Dial) -> None:
    client = await dial.client(max_waiting=2)
    for call in [client.execute("GET", n) for n in range(2)]:
        await tick()
        call.cancel()
    assert isinstance(await failure_of(client.execute("GET", "more")), StoreOverloaded)


# Scripts


@in_virtual_time
async def test_a_script_is_sent_by_its_sha_and_in_full_where_the_server_does_not_know_it(dial: Dial) -> None:
    client = await dial.client()
    script = Script("return ARGV[1]")
    call = client.run(script, ["k"], ["v", 2])
    await tick()
    tail = [b"1", b"k", b"v", b"2"]
    assert dial.wire.commands() == [[b"EVALSHA", script.sha.encode(), *tail]]
    dial.wire.reply(b"-NOSCRIPT No matching script. Please use EVAL.\r\n")
    await tick()
    assert dial.wire.commands() == [[b"EVAL", script.text.encode(), *tail]]
    dial.wire.reply(b"+v\r\n")
    assert await call == b"v"


@in_virtual_time
async def test_an_unknown_script_does_not_shift_later_replies(dial: Dial) -> None:
    client = await dial.client()
    script = Script("return 1")
    calls = [client.run(script, ["k"]), client.execute("GET", "b"), client.run(script, ["k"])]
    await tick()
    dial.wire.reply(b"-NOSCRIPT no\r\n+b\r\n-NOSCRIPT no\r\n")
    later = client.execute("GET", "d")
    await tick()
    dial.wire.reply(b"+a\r\n+c\r\n+d\r\n" if dial.wire.commands()[-1][0] == b"GET" else b"+d\r\n+a\r\n+c\r\n")
    assert [await call for call in (*calls, later)] == [b"a", b"b", b"c", b"d"]


@in_virtual_time
async def test_a_script_that_stays_unknown_after_loading_is_an_error(dial: Dial) -> None:
    client = await dial.client()
    call = client.run(Script("return 1"), ["k"])
    for _ in range(2):
        await tick()
        dial.wire.reply(b"-NOSCRIPT no\r\n")
    error = await failure_of(call)
    assert isinstance(error, ReplyError)
    assert error.code == "NOSCRIPT"


@in_virtual_time
async def test_the_script_of_a_cancelled_call_is_not_sent_again(dial: Dial) -> None:
    client = await dial.client()
    call = client.run(Script("return 1"), ["k"])
    await tick()
    call.cancel()
    dial.wire.commands()
    dial.wire.reply(b"-NOSCRIPT no\r\n")
    await tick()
    assert dial.wire.commands() == []


# Losing the connection


@in_virtual_time
async def test_after_a_lost_connection_sent_calls_fail_and_unsent_ones_are_sent_on_the_next(dial: Dial) -> None:
    client = await dial.client()
    sent = client.execute("INCR", "sent")
    await tick()
    unsent = client.execute("INCR", "unsent")
    dial.wire.hang_up()
    error = await failure_of(sent)
    assert isinstance(error, StoreUnavailable)
    assert error.may_have_run
    assert "reset by peer" in str(error)
    await until(lambda: len(dial.wires) == 2 and dial.wire.writes)
    assert dial.wire.commands() == [[b"INCR", b"unsent"]]
    dial.wire.reply(b":1\r\n")
    assert await unsent == 1


@in_virtual_time
async def test_commands_queued_without_a_connection_are_sent_in_one_write_after_reconnecting(dial: Dial) -> None:
    client = await dial.client()
    dial.refusing = True
    dial.wire.hang_up()
    await tick()
    assert not client.is_connected
    calls = []
    for n in range(3):
        calls.append(client.execute("GET", n))
        await tick()
    dial.refusing = False
    await until(lambda: client.is_connected)
    await tick()
    assert len(dial.wire.writes) == 1
    assert [command[1] for command in dial.wire.commands()] == [b"0", b"1", b"2"]
    dial.wire.reply(OK * 3)
    assert await asyncio.gather(*calls) == [b"OK"] * 3


@in_virtual_time
async def test_commands_that_time_out_without_a_connection_have_not_run_and_are_never_sent(dial: Dial) -> None:
    client = await dial.client()
    dial.refusing = True
    dial.wire.hang_up()
    late = client.execute("INCR", "late")
    error = await failure_of(late)
    assert isinstance(error, StoreTimeout)
    assert not error.may_have_run
    dial.refusing = False
    await until(lambda: client.is_connected)
    fresh = client.execute("INCR", "fresh")
    await tick()
    assert dial.wire.commands() == [[b"INCR", b"fresh"]]
    dial.wire.reply(b":1\r\n")
    assert await fresh == 1


@in_virtual_time
async def test_an_expired_command_is_not_sent_after_reconnecting(dial: Dial) -> None:
    """Though the sweep that would have failed it has not come round yet."""
    client = await dial.client(deadline_s=SWEEP_S / 10)
    gate = asyncio.Event()
    open_stream = dial.open_stream

    async def slowly(url: str, timeout_s: float) -> asyncio.StreamWriter:
        stream = await open_stream(url, timeout_s)
        await gate.wait()
        return stream

    dial_again = pytest.MonkeyPatch()
    with dial_again.context() as patch:
        patch.setattr("store.handshake.open_stream", slowly)
        dial.wire.hang_up()
        late = client.execute("INCR", "late")
        asyncio.get_running_loop().call_later(SWEEP_S / 2, gate.set)
        error = await failure_of(late)
    assert isinstance(error, StoreTimeout)
    assert not error.may_have_run
    assert client.is_connected
    assert dial.wire.commands() == []


@in_virtual_time
async def test_a_call_cancelled_without_a_connection_is_not_sent_after_reconnecting(dial: Dial) -> None:
    client = await dial.client()
    dial.refusing = True
    dial.wire.hang_up()
    given_up, kept = client.execute("INCR", "given up"), client.execute("INCR", "kept")
    await tick()
    given_up.cancel()
    dial.refusing = False
    await until(lambda: client.is_connected)
    await tick()
    assert dial.wire.commands() == [[b"INCR", b"kept"]]
    dial.wire.reply(b":1\r\n")
    assert await kept == 1


@in_virtual_time
async def test_reconnecting_backs_off_with_jitter_up_to_a_bound(dial: Dial) -> None:
    client = await dial.client()
    dial.refusing = True
    dial.wire.hang_up()
    await let_pass(20.0)
    pauses = [after - before for before, after in zip(dial.attempts[1:], dial.attempts[2:], strict=False)]
    assert 20 <= len(pauses) <= 60
    assert all(pause <= MAX_RECONNECT_S + 0.001 for pause in pauses)
    assert pauses[0] < 0.03
    assert len({round(pause, 6) for pause in pauses[-10:]}) > 5
    await client.close()


@in_virtual_time
async def test_the_end_of_an_old_connection_does_not_affect_the_next(dial: Dial) -> None:
    client = await dial.client()
    first = dial.wire
    first.reply(b"garbage\r\n")
    await until(lambda: len(dial.wires) == 2)
    first.hang_up()
    first.reply(b"+late\r\n")
    call = client.execute("GET", "a")
    await tick()
    dial.wire.reply(b"+a\r\n")
    assert await call == b"a"
    assert len(dial.wires) == 2


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n", id="another-protocol"),
        pytest.param(b"\x00\x01\x02", id="binary"),
        pytest.param(b"*-7\r\n", id="impossible-length"),
        pytest.param(b"%1\r\n*1\r\n:1\r\n:2\r\n", id="map-with-a-list-for-key"),
        pytest.param(b"+one\r\n+two\r\n", id="more-replies-than-commands"),
    ],
)
def test_a_malformed_reply_fails_the_sent_calls_and_opens_a_new_connection(dial: Dial, garbage: bytes) -> None:
    @in_virtual_time
    async def play() -> None:
        client = await dial.client()
        calls = [client.execute("GET", "a")]
        await tick()
        dial.wire.reply(garbage)
        outcome = (await asyncio.gather(*calls, return_exceptions=True))[0]
        assert outcome == b"one" or (isinstance(outcome, StoreUnavailable) and outcome.may_have_run)
        await until(lambda: len(dial.wires) == 2)
        assert dial.wires[0].aborted
        after = client.execute("GET", "b")
        await tick()
        dial.wire.reply(b"+b\r\n")
        assert await after == b"b"

    play()


@in_virtual_time
async def test_a_server_that_stops_answering_loses_the_connection(dial: Dial) -> None:
    client = await dial.client()
    hung = client.execute("GET", "a")
    assert isinstance(await failure_of(hung), StoreTimeout)
    await until(lambda: len(dial.wires) == 2)
    assert dial.wires[0].aborted
    assert DEADLINE_S + STALLED_S <= loop_time() <= DEADLINE_S + STALLED_S + 4 * SWEEP_S
    assert client.is_connected


@in_virtual_time
async def test_a_connection_that_is_idle_is_never_given_up(dial: Dial) -> None:
    client = await dial.client()
    call = client.execute("GET", "a")
    await tick()
    dial.wire.reply(OK)
    await call
    await let_pass(3600.0)
    assert len(dial.wires) == 1
    assert client.is_connected


# Closing


@in_virtual_time
async def test_closing_fails_pending_and_later_calls(dial: Dial) -> None:
    client = await dial.client()
    sent = client.execute("INCR", "sent")
    await tick()
    unsent = client.execute("INCR", "unsent")
    await client.close()
    sent_error, unsent_error = await failure_of(sent), await failure_of(unsent)
    assert isinstance(sent_error, StoreUnavailable)
    assert sent_error.may_have_run
    assert isinstance(unsent_error, StoreUnavailable)
    assert not unsent_error.may_have_run
    assert isinstance(await failure_of(client.execute("GET", "after")), StoreUnavailable)
    assert dial.wire.aborted
    await let_pass(10.0)
    assert len(dial.wires) == 1


@in_virtual_time
async def test_closing_without_a_connection_ends_the_reconnecting(dial: Dial) -> None:
    client = await dial.client()
    dial.refusing = True
    dial.wire.hang_up()
    waiting = client.execute("GET", "a")
    await let_pass(0.1)
    await client.close()
    assert isinstance(await failure_of(waiting), StoreUnavailable)
    attempts = len(dial.attempts)
    await let_pass(10.0)
    assert len(dial.attempts) == attempts


@in_virtual_time
async def test_closing_twice_is_allowed(dial: Dial) -> None:
    client = await dial.client()
    await client.close()
    await client.close()


# Deadlines


@in_virtual_time
async def test_a_script_sent_again_has_its_first_deadline(dial: Dial) -> None:
    client = await dial.client()
    call = client.run(Script("return 1"), ["k"])
    await let_pass(DEADLINE_S * 0.8)
    dial.wire.reply(b"-NOSCRIPT no\r\n")
    assert isinstance(await failure_of(call), StoreTimeout)
    assert loop_time() < DEADLINE_S + 3 * SWEEP_S


@in_virtual_time
async def test_after_a_pause_of_the_process_replies_are_read_before_calls_time_out(dial: Dial) -> None:
    client = await dial.client()
    call = client.execute("GET", "a")
    await tick()
    pause(DEADLINE_S * 4)
    await tick()
    dial.wire.reply(b"+a\r\n")
    assert await call == b"a"


# Traces


@in_virtual_time
async def test_calls_within_a_trace_are_spans_without_keys_and_values(dial: Dial) -> None:
    client = await dial.client()
    tracer = Tracer(share=1.0, slow_s=1.0)
    root = tracer.begin("root", SERVER, parent=None)
    enter(root)
    calls = [client.execute("GET", "secret"), client.run(Script("return 1", "commit"), ["secret"], ["value"])]
    lost = client.execute("SET", "secret", "value")
    enter(None)
    client.execute("GET", "beside")
    await tick()
    dial.wire.reply(b"+a\r\n:1\r\n-ERR no\r\n+b\r\n")
    await asyncio.gather(*calls)
    await failure_of(lost)
    await tick()
    tracer.end(root)
    ((_, _, spans),) = tracer.take(100)
    assert [(span[2], span[1], span[7]) for span in spans[:-1]] == [
        ("GET", root.id, ""),
        ("EVALSHA commit", root.id, ""),
        ("SET", root.id, "ReplyError"),
    ]
    assert spans[1][6] == {
        "db.system.name": "redis",
        "db.operation.name": "EVALSHA",
        "db.stored_procedure.name": "commit",
    }
    assert "secret" not in str(spans)
    assert "value" not in str(spans)
