"""Fixtures of all tests: a store that the tests may empty, one for each worker of pytest-xdist."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from benchmarks.harness.store_cluster import store_cluster
from gateway.log_format import COMMAND_LOGGER, OWN_LOGGERS
from store.embedded import EmbeddedServer
from store.opening import StoreClient, open_store_client
from store.topology import is_cluster_url

# A job in the background of a script ignores interrupts, and so would its children, of which some tests interrupt one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Servers have 16 databases unless they are configured otherwise.
DATABASES = 16


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three test workers for two cores: a third of the time of the tests is waiting."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores + (cores + 1) // 2, DATABASES)


@pytest.fixture(autouse=True)
def _own_hooks() -> Iterator[None]:
    """A command that runs in the process of a test replaces hooks of the interpreter, those of pytest among them, and sets up logging."""
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    loggers = [logging.getLogger(name) for name in ("", *OWN_LOGGERS, COMMAND_LOGGER)]
    levels, raises = [each.level for each in loggers], logging.raiseExceptions
    yield
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    logging.raiseExceptions = raises


@pytest.fixture(scope="session")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database that no other test worker uses: of a server of its own, or of the one given."""
    if url := os.environ.get("PEAKGATE_TEST_STORE_URL"):
        yield of_worker(url, worker_number())
        return
    server = EmbeddedServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[StoreClient]:
    """A client of an empty database."""
    client = await open_store_client(store_url, deadline_s=5.0)
    await client.execute("FLUSHDB")
    yield client
    await client.close()


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of three primaries that no other test worker uses."""
    with store_cluster(tmp_path_factory.mktemp("cluster"), replicas=False) as cluster:
        yield cluster.url


@pytest.fixture
async def cluster_store(cluster_url: str) -> AsyncIterator[StoreClient]:
    """A client of an empty cluster."""
    client = await open_store_client(cluster_url, deadline_s=5.0)
    await client.execute("FLUSHDB")
    yield client
    await client.close()


def worker_number() -> int:
    """The number of this worker of pytest-xdist, from 0; 0 without xdist."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def of_worker(url: str, number: int) -> str:
    """The address of a database of the server at `url`, which must not name one itself. A cluster has one for one worker."""
    if is_cluster_url(url):
        assert number == 0, "a given cluster serves one test worker: TEST_WORKERS=1"
        return url
    assert number < DATABASES, f"a given store serves at most {DATABASES} test workers"
    return f"{url}{'&' if '?' in url else '?'}db={number}"
