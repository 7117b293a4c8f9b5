"""The time without a beat, as a supervisor adds it up."""

from __future__ import annotations

import asyncio
import os

from gateway.process.heartbeat import BEAT_S, MAX_ROUND_S, Heartbeat, Silence, start_heartbeat
from tests.virtual_time import in_virtual_time


def test_a_child_that_has_not_begun_to_beat_may_take_its_time() -> None:
    silence = Silence()
    assert [silence.observe(0, 1.0) for _ in range(100)] == [0.0] * 100


def test_silence_adds_up_until_the_next_beat() -> None:
    silence = Silence()
    assert [silence.observe(count, 0.5) for count in (1, 1, 1, 2, 2)] == [0.0, 0.5, 1.0, 0.0, 0.5]


def test_time_in_which_the_supervisor_did_not_run_hardly_counts() -> None:
    silence = Silence()
    silence.observe(1, 0.5)
    assert silence.observe(1, 3600.0) == MAX_ROUND_S


@in_virtual_time
async def test_the_loop_beats_while_it_turns() -> None:
    heartbeat = Heartbeat()
    start_heartbeat(heartbeat.beat)
    assert heartbeat.count == 1
    await asyncio.sleep(10 * BEAT_S + 0.1)
    assert heartbeat.count == 11


def test_a_parent_sees_the_beats_of_its_child() -> None:
    heartbeat = Heartbeat()
    pid = os.fork()
    if pid == 0:
        heartbeat.beat()
        os._exit(0)
    os.waitpid(pid, 0)
    assert heartbeat.count == 1
    heartbeat.close()
