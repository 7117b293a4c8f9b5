"""Nobody loses a place because a process dies: not the store's, not a worker's."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from gateway.config.policies import Room
from gateway.waitingroom.admission import Visit
from gateway.waitingroom.redis_rooms import RedisRooms
from store import Client, open_client
from store.embedded import EmbeddedServer
from tests.processes import is_alive
from tests.waiting import until, wait_until

ROOM = Room(name="drop", routes=("*",), admissions_per_s=0.001, max_active=2)
SHOPPERS = 30

_ids = itertools.count(1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path)
    server.start()
    yield server
    server.stop()


async def fill(client: Client) -> list[Visit]:
    rooms = RedisRooms(client)
    return [await rooms.visit(ROOM, None, f"place-{next(_ids)}") for _ in range(SHOPPERS)]


async def ask_all(client: Client, visits: list[Visit]) -> list[Visit]:
    rooms = RedisRooms(client)
    return [await rooms.visit(ROOM, visit.place_id, "a-new-place") for visit in visits]


def places(visits: list[Visit]) -> list[tuple[str, str, int]]:
    return [(visit.outcome, visit.place_id, visit.ahead) for visit in visits]


async def kill_and_revive(server: EmbeddedServer, client: Client) -> None:
    killed = server.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    await until(lambda: not is_alive(killed) and not client.is_connected)
    await until(lambda: server.revive() is None and client.is_connected)


async def test_a_store_that_is_killed_loses_no_place(server: EmbeddedServer) -> None:
    client = await open_client(server.url, deadline_s=5.0)
    visits = await fill(client)

    await kill_and_revive(server, client)

    assert places(await ask_all(client, visits)) == places(visits)
    await client.close()


async def test_the_next_to_arrive_after_a_kill_is_the_last(server: EmbeddedServer) -> None:
    client = await open_client(server.url, deadline_s=5.0)
    await fill(client)

    await kill_and_revive(server, client)

    visit = await RedisRooms(client).visit(ROOM, None, "late")
    assert (visit.number, visit.ahead) == (SHOPPERS + 1, SHOPPERS - 1)
    await client.close()


def be_a_worker(url: str, to_parent: Connection) -> None:
    """A process that takes arrivals until it is killed."""

    async def work() -> None:
        client = await open_client(url, deadline_s=5.0)
        rooms = RedisRooms(client)
        for number in itertools.count():
            visit = await rooms.visit(ROOM, None, f"{os.getpid()}-{number}")
            to_parent.send((visit.outcome, visit.place_id, visit.number))

    asyncio.run(work())


async def test_a_worker_that_is_killed_takes_no_place_with_it(server: EmbeddedServer) -> None:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    worker = multiprocessing.get_context("spawn").Process(target=be_a_worker, args=(server.url, theirs))
    worker.start()
    theirs.close()
    wait_until(lambda: ours.poll(0))
    told: list[tuple[str, str, int]] = [ours.recv() for _ in range(SHOPPERS)]
    worker.kill()
    worker.join()
    ours.close()

    client = await open_client(server.url, deadline_s=5.0)
    rooms = RedisRooms(client)
    again = [await rooms.visit(ROOM, place_id, "a-new-place") for _, place_id, _ in told]

    assert [visit.place_id for visit in again] == [place_id for _, place_id, _ in told]
    waiting = [visit for visit in again if visit.outcome == "waiting"]
    assert [visit.number for visit in waiting] == sorted(
        number for response, _, number in told if response == "waiting"
    )
    await client.close()
