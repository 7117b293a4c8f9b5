"""Store servers on TCP ports: alone, or a primary with its replica whose roles change."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis

from benchmarks.harness.gateway_process import HarnessError, await_port, start_child
from benchmarks.harness.ports import free_port
from store.embedded import find_binary

PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.01


class StoreServer:
    """One server of a folder. It is started again on the same port, with or without what it had stored."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, *options: str, program: Path | None = None) -> None:
        self.folder = folder
        self._program = program or find_binary()
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.is_stopped = False
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._process = start_child(self._command_line())
        await_port(self._process, self.port)
        await_condition(self._serves)

    def _command_line(self) -> list[str]:
        options = ["--port", str(self.port), "--bind", self.host, "--save", "", "--dir", str(self.folder)]
        options += ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--logfile", "store.log"]
        return [str(self._program), *options, *self._options]

    def client(self) -> redis.Redis:
        """A connection of an administrator."""
        return redis.Redis(port=self.port, socket_timeout=PATIENCE_S)

    def command(self, *words: Any) -> Any:
        """One command as an administrator, on a connection of its own."""
        with self.client() as client:
            return client.execute_command(*words)

    def info(self, section: str) -> dict[str, Any]:
        """A section of INFO."""
        with self.client() as client:
            return dict(client.info(section))

    def kill(self) -> None:
        """End it at once, as a host that dies."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def terminate(self) -> None:
        """End it as its service manager does."""
        self.signal(signal.SIGTERM)
        assert self._process is not None
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self.is_stopped = number == signal.SIGSTOP
        if self._process.poll() is None:
            os.kill(self._process.pid, number)

    def follow(self, primary: "StoreServer") -> None:
        """Become a replica of this server, and wait until it is one."""
        self.command("REPLICAOF", primary.host, primary.port)
        await_condition(lambda: self.info("replication")["master_link_status"] == "up")

    def promote(self) -> None:
        """Become a primary."""
        self.command("REPLICAOF", "NO", "ONE")

    def fail_over(self) -> None:
        """Hand over to the replica as planned: nothing is lost. Returns when this server is the replica."""
        self.command("FAILOVER", "TIMEOUT", 10_000)
        await_condition(lambda: self.info("replication")["role"] == "slave")

    def _serves(self) -> bool:
        try:
            return bool(self.command("PING"))
        except redis.exceptions.RedisError:
            return False


@contextmanager
def store_server(folder: Path, *options: str) -> Iterator[StoreServer]:
    """A server for the length of the block."""
    server = StoreServer(folder, *options)
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def store_pair(folder: Path, *options: str) -> Iterator[tuple[StoreServer, StoreServer]]:
    """A primary and its replica."""
    with store_server(folder / "first", *options) as first, store_server(folder / "second", *options) as second:
        second.follow(first)
        yield first, second


def await_condition(is_so: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Poll until it is so. Raises `HarnessError` if it is not, after a minute unless told otherwise."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise HarnessError(f"still not so after {within_s:g} s: {is_so}")
        time.sleep(_POLL_S)
