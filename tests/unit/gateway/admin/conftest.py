from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.admin.workers import Workers
from gateway.control.runtime_directory import RuntimeDirectory, runtime_directory
from tests.unit.gateway.admin.small_workers import Fleet


@pytest.fixture
def runtime() -> Iterator[RuntimeDirectory]:
    with runtime_directory() as runtime:
        runtime.policies = ""
        yield runtime


@pytest.fixture
async def fleet(runtime: RuntimeDirectory) -> AsyncIterator[Fleet]:
    """No workers yet; those that a test starts are stopped with it."""
    async with Fleet(runtime) as fleet:
        yield fleet


@pytest.fixture
def workers(runtime: RuntimeDirectory) -> Workers:
    return Workers(runtime)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The user's file, empty like the active policies."""
    path = tmp_path / "peakgate.toml"
    path.write_text("")
    return path
