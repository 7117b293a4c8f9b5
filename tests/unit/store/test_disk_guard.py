from __future__ import annotations

from pathlib import Path

import pytest

from store.disk_guard import READ_ONLY_S, RESERVE_BYTES, DiskGuard, space_of

GIGABYTE = 2**30


class FakeServer:
    """A server that takes CONFIG, on a disk with so much free space."""

    def __init__(self, folder: Path) -> None:
        self.config = {"appendfsync": "always", "maxmemory": "0", "auto-aof-rewrite-percentage": "100"}
        self.answers = True
        self.free, self.size = GIGABYTE, 10 * GIGABYTE
        self.now = 0.0
        self.guard = DiskGuard(folder, self.send, space=lambda _folder: (self.free, self.size), clock=lambda: self.now)

    def send(self, command: str) -> bytes | None:
        if not self.answers:
            return None
        words = command.split()
        if words[1] == "GET":
            value = self.config[words[2]]
            return f"*2\r\n${len(words[2])}\r\n{words[2]}\r\n${len(value)}\r\n{value}\r\n".encode()
        self.config.update(zip(words[2::2], words[3::2], strict=True))
        return b"+OK\r\n"

    def check(self) -> bool:
        """Whether the server is writable and flushes before each reply, after a check and some time."""
        self.guard.check()
        self.now += READ_ONLY_S
        assert self.guard.is_read_only is (self.config["maxmemory"] == "1")
        if not self.guard.is_read_only:
            assert self.config["appendfsync"] == "always"
            assert self.config["auto-aof-rewrite-percentage"] == "100"
        return not self.guard.is_read_only


@pytest.fixture
def server(tmp_path: Path) -> FakeServer:
    return FakeServer(tmp_path)


def test_a_server_with_room_is_writable(server: FakeServer) -> None:
    assert server.check()
    assert not server.guard.options


def test_a_server_is_read_only_before_its_disk_is_full_and_writable_when_there_is_room(server: FakeServer) -> None:
    server.free = RESERVE_BYTES - 1
    assert not server.check()
    server.free = RESERVE_BYTES + 1
    assert not server.check()  # it would be read-only again soon
    server.free = 2 * RESERVE_BYTES
    assert server.check()


def test_a_running_server_goes_on_flushing_before_each_reply(server: FakeServer) -> None:
    server.free = 0
    assert not server.check()
    assert server.config["appendfsync"] == "always"


def test_a_small_disk_has_a_small_reserve(server: FakeServer) -> None:
    server.size, server.free = 4 * 2**20, 2**20
    assert server.check()
    server.free = 2**17
    assert not server.check()


def test_the_limit_of_an_operator_is_restored(server: FakeServer) -> None:
    server.config["maxmemory"] = "123456"
    server.free = 0
    assert not server.check()
    server.free = GIGABYTE
    assert server.check()
    assert server.config["maxmemory"] == "123456"


def test_a_server_that_does_not_answer_is_tried_again(server: FakeServer) -> None:
    server.answers, server.free = False, 0
    assert server.check()
    server.answers = True
    assert not server.check()
    server.answers, server.free = False, GIGABYTE
    assert not server.check()
    server.answers = True
    assert server.check()


def test_a_server_that_ended_by_a_failed_write_starts_read_only_and_stays_so_for_a_moment(server: FakeServer) -> None:
    log = "# Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting..."
    assert server.guard.server_ended(log)
    assert server.guard.options == {"appendfsync": "everysec", "maxmemory": "1", "auto-aof-rewrite-percentage": "0"}
    server.config.update(server.guard.options)
    assert not server.check()  # also where the file system shows no reason, such as a quota
    assert server.check()


def test_a_server_that_ends_by_failed_writes_again_and_again_is_read_only_for_longer(server: FakeServer) -> None:
    times = []
    for _ in range(8):
        assert server.guard.server_ended("# AOF write error")
        server.config.update(server.guard.options)
        ended_at = server.now
        while server.guard.is_read_only:
            server.now += 1.0
            server.guard.check()
        times.append(server.now - ended_at)
    assert times == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    server.now += 61.0
    assert server.guard.server_ended("# AOF write error")
    server.config.update(server.guard.options)
    assert not server.check()
    assert server.check()


def test_a_server_that_ended_for_another_reason_starts_as_before(server: FakeServer) -> None:
    assert not server.guard.server_ended("# Received SIGKILL")
    assert not server.guard.options
    server.free = 0
    server.check()
    assert not server.guard.server_ended("# Received SIGKILL")
    assert server.guard.options


def test_a_disk_with_space_that_cannot_be_used_has_no_room(server: FakeServer, tmp_path: Path) -> None:
    server.free = 0
    assert not server.check()
    server.free = GIGABYTE
    (tmp_path / "disk-trial").mkdir()
    assert not server.check()
    (tmp_path / "disk-trial").rmdir()
    assert server.check()


def test_an_unknown_space_changes_nothing(server: FakeServer, tmp_path: Path) -> None:
    assert space_of(tmp_path / "nowhere") == (0, 0)
    server.free = server.size = 0
    assert server.check()


def test_the_trial_leaves_no_file(server: FakeServer, tmp_path: Path) -> None:
    server.free = 0
    server.check()
    server.free = GIGABYTE
    server.check()
    assert not [*tmp_path.iterdir()]
