"""fauxqs, a fast server with the protocols of SQS and SNS, for tests and load: installed once with npm, on loopback only."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.harness.gateway_process import HarnessError, await_port, start_child, stop_child
from benchmarks.harness.ports import free_port
from benchmarks.peers.servers import SOURCES, PeerMissing, cache_folder, install_with_npm, program_on_path

_SOURCES: Final = SOURCES / "fauxqs"


class Fauxqs(NamedTuple):
    """The running server: its process, and the port that it listens on."""

    pid: int
    port: int

    @property
    def endpoint(self) -> str:
        """The address to call it at."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def fauxqs() -> Iterator[Fauxqs]:
    """Run it. Raises `PeerMissing`."""
    node = program_on_path("node", "nodejs npm")
    folder = _install()
    shutil.copy(_SOURCES / "server.js", folder)
    port = free_port()
    with tempfile.TemporaryFile() as log:
        process = start_child([node, str(folder / "server.js"), str(port)], log=log)
        try:
            try:
                await_port(process, port)
            except HarnessError as error:
                raise PeerMissing(f"fauxqs did not start: {error}") from error
            yield Fauxqs(process.pid, port)
        finally:
            stop_child(process)


def _install() -> Path:
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "fauxqs.lock").open("w")
    except OSError as error:
        raise PeerMissing(f"it cannot be installed: {error}") from error
    # Tests run in several processes.
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return install_with_npm("fauxqs", _SOURCES / "package.json")
