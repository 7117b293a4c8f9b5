"""The parent process, in a process of its own with tiny workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import is_alive
from tests.waiting import WITHIN_S, wait_until

PROGRAM = Path(__file__).with_name("supervised.py")
ROOT = PROGRAM.parents[3]


class Supervised:
    """The program, from outside."""

    def __init__(self, mode: str, workers: int, *more: str, drain_s: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), mode, str(workers), str(drain_s), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        self.port = 0

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def ask(self, what: bytes = b"who") -> tuple[str, int]:
        """Name and process id of the worker that responds."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WITHIN_S) as connection:
            connection.sendall(what)
            name, _, pid = connection.recv(100).decode().partition(" ")
            return name, int(pid or 0)

    def workers(self, count: int) -> dict[str, int]:
        """All that respond, by name."""
        found: dict[str, int] = {}

        def ask() -> bool:
            name, pid = self.ask()
            found[name] = pid
            return len(found) >= count

        wait_until(ask, step_s=0.0)
        return found

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Exit code and log, once it has ended."""
        _, log = self.process.communicate(timeout=WITHIN_S)
        return self.process.returncode, log


@pytest.fixture
def run() -> Iterator[Callable[..., Supervised]]:
    started: list[Supervised] = []

    def start(mode: str, workers: int = 2, *more: str, drain_s: float = 0.3) -> Supervised:
        started.append(Supervised(mode, workers, *more, drain_s=drain_s))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            _, log = each.process.communicate()
            sys.stderr.write(log)  # shown with a failure


Run = Callable[..., Supervised]


def test_every_listener_has_a_worker_and_sigterm_ends_them_all(run: Run) -> None:
    shop = run("serve", 3)
    shop.wait_until_ready()
    workers = shop.workers(3)
    assert sorted(workers) == ["0a", "1a", "2a"]
    shop.signal(signal.SIGTERM)
    assert shop.end() == (0, "")
    assert not any(map(is_alive, workers.values()))
    with pytest.raises(ConnectionRefusedError):
        shop.ask()


def test_a_stop_with_a_grace_serves_on_until_another_signal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAIN_GRACE_S", "3600")
    shop = run("serve", 2)
    shop.wait_until_ready()
    workers = shop.workers(2)
    shop.signal(signal.SIGTERM)
    assert shop.process.stderr is not None
    assert "stopping: not ready from now on" in shop.process.stderr.readline()
    assert shop.workers(2) == workers
    shop.signal(signal.SIGINT)
    assert shop.end() == (0, "")
    assert not any(map(is_alive, workers.values()))


def test_a_worker_that_dies_is_replaced_by_one_of_the_same_name(run: Run) -> None:
    shop = run("serve", 2)
    shop.wait_until_ready()
    before = shop.workers(2)
    os.kill(before["0a"], signal.SIGKILL)
    wait_until(lambda: shop.workers(2) not in (before, {}) and shop.workers(2)["0a"] != before["0a"])
    assert shop.workers(2)["1a"] == before["1a"]
    shop.signal(signal.SIGTERM)
    code, log = shop.end()
    assert code == 0
    assert "worker 0" in log


def test_a_worker_that_exits_by_itself_is_replaced_too(run: Run) -> None:
    shop = run("serve", 1)
    shop.wait_until_ready()
    _, before = shop.ask()
    shop.ask(b"die")
    assert shop.ask()[1] != before
    shop.signal(signal.SIGTERM)
    assert shop.end()[0] == 0


def test_a_worker_that_dies_repeatedly_is_restarted_with_back_off(run: Run) -> None:
    shop = run("die_soon", 1)
    shop.wait_until_ready()
    assert shop.process.stderr is not None
    said = [shop.process.stderr.readline() for _ in range(4)]
    delays = [float(line.rpartition(" in ")[2].removesuffix(" s\n")) for line in said]
    # A random half of each is left out; the log rounds to tenths.
    for delay_s, longest_s in zip(delays, (0.1, 0.2, 0.4, 0.8), strict=True):
        assert longest_s / 2 - 0.05 <= delay_s <= longest_s + 0.05
    shop.signal(signal.SIGTERM)
    assert shop.end()[0] == 0


def lines_until(shop: Supervised, last: str) -> str:
    """The log up to a line with this text."""
    assert shop.process.stderr is not None
    lines: list[str] = []
    while last not in "".join(lines[-1:]):
        lines.append(shop.process.stderr.readline())
        assert lines[-1], lines
    return "".join(lines)


def test_a_worker_whose_loop_hangs_is_replaced_and_its_stack_logged(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANG_S", "1")
    shop = run("hang_when_asked", 2)
    shop.wait_until_ready()
    before = shop.workers(2)
    name, hung = shop.ask(b"hang")
    log = lines_until(shop, "it is restarted in")
    assert f"worker {name[0]} (process {hung}) has hung for " in log
    assert "in hang_here" in log
    assert f"worker {name[0]} (process {hung}) was killed by SIGKILL" in log
    after = shop.workers(2)
    assert after.keys() == before.keys()
    assert {key for key in after if after[key] != before[key]} == {name}
    shop.signal(signal.SIGTERM)
    assert shop.end() == (0, "")


def test_a_worker_that_is_stopped_is_replaced_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANG_S", "1")
    shop = run("hang_when_asked", 1)
    shop.wait_until_ready()
    _, stopped = shop.ask()
    os.kill(stopped, signal.SIGSTOP)
    assert f"(process {stopped}) has hung for " in lines_until(shop, "it is restarted in")
    assert shop.ask()[1] != stopped
    shop.signal(signal.SIGTERM)
    assert shop.end()[0] == 0


def test_workers_that_were_stopped_with_their_supervisor_stay(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANG_S", "2")
    shop = run("hang_when_asked", 2)
    shop.wait_until_ready()
    before = shop.workers(2)
    family = [shop.process.pid, *before.values()]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    # The pause is the subject: longer than a worker may hang.
    time.sleep(3)
    for pid in family:
        os.kill(pid, signal.SIGCONT)
    assert shop.workers(2) == before
    shop.signal(signal.SIGTERM)
    assert shop.end() == (0, "")


def test_a_worker_that_hangs_does_not_hold_up_a_stop(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANG_S", "1")
    shop = run("hang_when_asked", 1, drain_s=3600.0)
    shop.wait_until_ready()
    shop.ask(b"hang")
    shop.signal(signal.SIGTERM)
    code, log = shop.end()
    assert code == 0
    assert "in hang_here" in log


def test_a_worker_that_crashes_leaves_its_stack_in_the_log(run: Run) -> None:
    shop = run("crash", 1)
    shop.wait_until_ready()
    log = lines_until(shop, "in crash")
    assert "was killed by SIGSEGV; it is restarted in" in log
    assert "Segmentation fault" in log
    shop.signal(signal.SIGTERM)
    assert shop.end()[0] == 0


def test_run_returns_false_when_workers_cannot_start(run: Run) -> None:
    code, log = run("fail", 2).end()
    assert code == 1
    assert "cannot start" in log


def test_a_rolling_restart_replaces_every_worker_and_rejects_no_connection(run: Run) -> None:
    shop = run("serve", 3)
    shop.wait_until_ready()
    before = shop.workers(3)
    failures: list[object] = []
    responses: set[tuple[str, int]] = set()
    over = threading.Event()

    def keep_asking() -> None:
        while not over.is_set():
            try:
                responses.add(shop.ask())
            except OSError as error:
                failures.append(error)

    asking = [threading.Thread(target=keep_asking) for _ in range(2)]
    for each in asking:
        each.start()
    try:
        for generation in "bab":
            shop.signal(signal.SIGUSR1)
            names = {f"{slot}{generation}" for slot in range(3)}
            wait_until(lambda: names <= {shop.ask()[0] for _ in range(30)})  # noqa: B023 - called at once
    finally:
        over.set()
        for each in asking:
            each.join()
    assert not failures
    assert len(responses) >= 6
    wait_until(lambda: not any(map(is_alive, before.values())))
    shop.signal(signal.SIGTERM)
    assert shop.end() == (0, "")


def test_a_second_rolling_restart_during_the_first_replaces_all_again(run: Run) -> None:
    shop = run("serve", 2)
    shop.wait_until_ready()
    before = set(shop.workers(2).values())
    for _ in range(3):
        shop.signal(signal.SIGUSR1)
    wait_until(lambda: not before & {shop.ask()[1] for _ in range(20)})
    shop.signal(signal.SIGTERM)
    assert shop.end()[0] == 0


def test_a_worker_that_was_started_before_the_second_rolling_restart_is_replaced_too(run: Run) -> None:
    shop = run("linger", 1, drain_s=WITHIN_S)
    shop.wait_until_ready()
    ((_, first),) = shop.workers(1).items()
    shop.signal(signal.SIGUSR1)
    # The first goes on beside its successor.
    second = shop.workers(2)["0b"]
    shop.signal(signal.SIGUSR1)
    wait_until(lambda: shop.ask(b"leave")[1] not in {first, second})
    assert not is_alive(first)


def test_running_workers_stay_when_replacements_cannot_start(run: Run) -> None:
    shop = run("fail_when_replaced", 2)
    shop.wait_until_ready()
    before = shop.workers(2)
    shop.signal(signal.SIGUSR1)
    assert shop.process.stderr is not None
    wait_until(lambda: "running workers stay" in shop.process.stderr.readline())  # type: ignore[union-attr]
    assert shop.workers(2) == before
    shop.signal(signal.SIGTERM)
    assert shop.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_that_do_not_stop_in_time_are_killed(run: Run, number: signal.Signals) -> None:
    shop = run("ignore_signals", 2)
    shop.wait_until_ready()
    workers = shop.workers(2)
    shop.signal(number)
    assert shop.end()[0] == 0
    assert not any(map(is_alive, workers.values()))


def test_a_second_interrupt_does_not_wait(run: Run) -> None:
    shop = run("ignore_signals", 2, drain_s=3600.0)
    shop.wait_until_ready()
    workers = shop.workers(2)
    shop.signal(signal.SIGINT)
    assert shop.process.stdout is not None
    assert [shop.process.stdout.readline() for _ in range(2)] == ["told\n"] * 2
    shop.signal(signal.SIGINT)
    assert shop.end()[0] == 0
    assert not any(map(is_alive, workers.values()))


def test_only_the_supervisor_acts_on_an_interrupt_of_the_group(run: Run) -> None:
    shop = run("serve", 2)
    shop.wait_until_ready()
    workers = shop.workers(2)
    os.killpg(shop.process.pid, signal.SIGINT)
    assert shop.end() == (0, "")
    assert not any(map(is_alive, workers.values()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_workers_end_with_a_parent_that_is_killed(run: Run) -> None:
    shop = run("serve", 2)
    shop.wait_until_ready()
    workers = shop.workers(2)
    shop.signal(signal.SIGKILL)
    shop.end()
    wait_until(lambda: not any(map(is_alive, workers.values())))


def test_the_dependency_of_the_workers_is_revived(run: Run, tmp_path: Path) -> None:
    shop = run("serve", 1, str(tmp_path / "count"))
    shop.wait_until_ready()
    wait_until(lambda: (tmp_path / "count").exists() and len((tmp_path / "count").read_text()) >= 3)
    shop.signal(signal.SIGTERM)
    assert shop.end()[0] == 0


@pytest.mark.parametrize("begun", range(5))
def test_a_stop_at_any_moment_of_the_start_ends_everything(run: Run, begun: int) -> None:
    shop = run("serve", 4)
    wait_until(lambda: len(children_of(shop.process.pid)) >= begun, step_s=0.0)
    children = children_of(shop.process.pid)
    shop.signal(signal.SIGTERM)
    shop.end()
    wait_until(lambda: not any(is_alive(pid) for pid in children if pid))


def heard(shop: Supervised) -> str:
    assert shop.process.stdout is not None
    return shop.process.stdout.readline().strip()


def test_sighup_reaches_only_those_that_heed_it(run: Run) -> None:
    shop = run("control", 2)
    name, _, _ = heard(shop).partition(" ")
    shop.wait_until_ready()
    before = shop.workers(2)
    for tell in (os.kill, os.kill, os.killpg):
        tell(shop.process.pid, signal.SIGHUP)
        assert heard(shop) == f"{name} heeds"
    assert shop.workers(2) == before
    shop.signal(signal.SIGTERM)
    assert shop.end()[0] == 0


def test_sighup_that_comes_too_early_is_heeded_later(run: Run) -> None:
    shop = run("late_control", 1)
    pid = int(heard(shop))
    shop.signal(signal.SIGHUP)
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGUSR2)
    assert heard(shop) == f"control {pid}"
    said = {heard(shop), heard(shop)}
    assert "control heeds" in said
    shop.signal(signal.SIGTERM)
    assert shop.end() == (0, "")


def test_a_child_that_does_not_roll_is_started_again_but_not_replaced(run: Run) -> None:
    shop = run("control", 1)
    _, _, first = heard(shop).partition(" ")
    shop.wait_until_ready()
    _, worker = shop.ask()
    shop.signal(signal.SIGUSR1)
    wait_until(lambda: shop.ask()[1] != worker)
    assert is_alive(int(first))
    os.kill(int(first), signal.SIGKILL)
    _, _, second = heard(shop).partition(" ")
    assert second != first
    assert shop.ask()[0] == "0b"
    shop.signal(signal.SIGTERM)
    code, log = shop.end()
    assert (code, "the control process (process" in log) == (0, True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process name itself in a file")
def test_running_children_have_different_names(run: Run) -> None:
    shop = run("control", 2)
    heard(shop)
    shop.wait_until_ready()
    names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in children_of(shop.process.pid)}
    assert names == {"peakgate-0a", "peakgate-1a", "peakgate-control"[:15]}
    shop.signal(signal.SIGTERM)
    assert shop.end()[0] == 0


def children_of(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listing.read_text().split()] if listing.exists() else [0] * 9
