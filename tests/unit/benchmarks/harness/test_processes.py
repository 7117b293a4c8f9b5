import os
import subprocess
import sys

from benchmarks.harness.processes import (
    CpuTime,
    Memory,
    command_line,
    cpu_time,
    descendants,
    memory,
    parse_busy_ticks,
    parse_cpu_time,
    parse_memory,
)

STAT = "4242 (py (worker) 1) S 1 4242 4242 0 -1 4194304 5127 0 0 0 123 45 7 8 20 0 1 0 99 1 2 3 4 5 6 7 8"


def test_cpu_time_is_user_and_system_time_without_that_of_children() -> None:
    assert parse_cpu_time(STAT, ticks_per_s=100) == (1.23, 0.45)


def test_the_time_since_a_reading_has_user_and_system_time() -> None:
    used = CpuTime(3.0, 1.5).since(CpuTime(1.0, 1.0))

    assert used == (2.0, 0.5)
    assert used.total_s == 2.5


def test_waiting_is_no_work() -> None:
    assert parse_busy_ticks("cpu  100 20 3 9000 800 4 5 6 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n") == 138


def test_memory_is_read_in_bytes() -> None:
    rollup = "00400000-7ffd ---p 00000000 00:00 0  [rollup]\nRss:   68596 kB\nPss:   1024 kB\nPss_Dirty: 9 kB\n"

    assert parse_memory(rollup) == Memory(rss=68596 * 1024, pss=1024 * 1024)


def test_this_process_has_used_time_and_memory() -> None:
    assert cpu_time(os.getpid()).total_s > 0
    assert memory(os.getpid()).rss > 1_000_000


def test_children_are_found_by_their_parent() -> None:
    command = [sys.executable, "-c", "print('up', flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        assert child.pid in descendants(os.getpid())
        assert "input()" in command_line(child.pid)
        child.communicate(b"\n")
