"""A waiting room as shoppers meet it: over HTTP, at two gateways that share a store and a secret."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from gateway.config.policies import Room
from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response
from gateway.http.router import Router
from gateway.server.server import EdgeServer
from gateway.waitingroom.redis_rooms import RedisRooms
from gateway.waitingroom.reporter import RoomReporter, Signals
from gateway.waitingroom.rooms import Rooms
from gateway.waitingroom.waiting_room import waiting_room
from store import Client, open_client
from tests.raw_http import RawClient, RawResponse
from tests.room_clock import RoomClock, use_clock

SECRET = b"shared by all gateways"
ROOM = Room(name="drop", routes=("/shop",), admissions_per_s=5.0, max_active=8)


class Gateway:
    """One gateway, with one route behind the room."""

    def __init__(self, store: Client, name: str) -> None:
        self.store = store
        self.rooms = Rooms(RedisRooms(store), SECRET)
        self.rooms.update([ROOM])

        async def queue_age_s() -> float | None:
            return None

        async def stock_of(_skus: object) -> int:
            return 0

        signals = Signals(lambda: 0.0, queue_age_s, stock_of)
        self.reporter = RoomReporter(self.rooms, signals, reporter=name)
        layer = waiting_room(self.rooms["drop"])
        self.edge = EdgeServer(Router([Endpoint(method, "/shop", layer(self.serve)) for method in ("GET", "HEAD")]))
        self.served = 0
        self.port = 0

    def serve(self, _request: Request) -> Response:
        self.served += 1
        return Response(200, b'{"shop":"open"}')


@pytest.fixture
async def clock(store: Client, monkeypatch: pytest.MonkeyPatch) -> RoomClock:
    use_clock(monkeypatch)
    clock = RoomClock(store)
    await clock.move(0)
    return clock


@pytest.fixture
async def gateways(store_url: str, clock: RoomClock) -> AsyncIterator[list[Gateway]]:
    async with AsyncExitStack() as stack:
        gateways = []
        for name in ("one", "two"):
            client = await open_client(store_url, deadline_s=10.0)
            stack.push_async_callback(client.close)
            gateway = Gateway(client, name)
            server = await asyncio.get_running_loop().create_server(gateway.edge.protocol, "127.0.0.1", 0)
            stack.push_async_callback(gateway.edge.drain, 0.0)
            stack.callback(server.close)
            gateway.port = server.sockets[0].getsockname()[1]
            gateways.append(gateway)
        yield gateways


async def get(gateway: Gateway, *lines: str, method: str = "GET") -> RawResponse:
    """One request on a connection of its own."""
    head = "".join(f"{line}\r\n" for line in (f"{method} /shop HTTP/1.1", "Host: shop", *lines))
    async with await RawClient.open(gateway.port) as client:
        return await client.request(f"{head}\r\n".encode(), method=method)


def held(response: RawResponse) -> str:
    """The header that holds the place or pass that a response gave."""
    token = response["Waiting-Room-Token"] if response.status == 200 else response.json()["token"]
    return f"Waiting-Room-Token: {token}"


def cookie(response: RawResponse) -> str:
    return f"Cookie: {response['Set-Cookie'].partition(';')[0]}"


async def test_a_crowd_at_two_gateways_is_served_in_order_of_arrival(gateways: list[Gateway], clock: RoomClock) -> None:
    responses = await asyncio.gather(*(get(gateways[n % 2]) for n in range(40)))
    waiting = sorted((each for each in responses if each.status == 503), key=lambda each: int(each.json()["position"]))
    assert [each.json()["position"] for each in waiting] == list(range(1, 36))

    await clock.move(1)
    # Asked in reverse, and at the other gateway: three are let in, as the cap allows.
    told = await asyncio.gather(*(get(gateways[n % 2], held(each)) for n, each in enumerate(reversed(waiting))))

    assert [each.status for each in reversed(told)] == [200] * 3 + [503] * 32
    assert {each.problem for each in told if each.status == 503} == {"waiting-room"}


async def test_an_admitted_client_is_served_by_both_gateways_without_a_store_call(gateways: list[Gateway]) -> None:
    first = await get(gateways[0])
    assert (first.status, first["Cache-Control"]) == (200, "private")
    calls_before = store_calls(gateways)

    responses = [await get(gateway, cookie(first)) for gateway in gateways for _ in range(5)]

    assert {each.status for each in responses} == {200}
    assert not any("Set-Cookie" in each for each in responses)
    assert store_calls(gateways) == calls_before


def store_calls(gateways: list[Gateway]) -> int:
    return sum(gateway.store.answered for gateway in gateways)


async def test_a_browser_waits_on_a_page_and_then_gets_the_resource(gateways: list[Gateway], clock: RoomClock) -> None:
    for _ in range(5):
        await get(gateways[0])
    page = await get(gateways[0], "Accept: text/html")
    assert (page.status, page["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert int(page["Refresh"]) == int(page["Retry-After"]) == 1
    await clock.move(1)
    await gateways[1].reporter.tick()

    wanted = await get(gateways[1], "Accept: text/html", cookie(page))

    assert (wanted.status, wanted.body) == (200, b'{"shop":"open"}')


async def test_a_head_request_gets_the_same_headers_without_the_page(gateways: list[Gateway]) -> None:
    for _ in range(5):
        await get(gateways[0])

    told = await get(gateways[0], "Accept: text/html", method="HEAD")

    assert (told.status, told.body) == (503, b"")
    assert int(told["Content-Length"]) > 1000


async def test_without_the_store_new_clients_wait_and_admitted_ones_are_served(
    gateways: list[Gateway], store: Client
) -> None:
    inside = await get(gateways[0])
    for gateway in gateways:
        await gateway.store.close()

    assert (await get(gateways[0], cookie(inside))).status == 200
    newcomer = await get(gateways[0])
    assert (newcomer.status, newcomer.json()["position"]) == (503, None)
    assert int(newcomer["Retry-After"]) >= 1


async def test_all_gateways_report_the_same_state_of_the_room(gateways: list[Gateway]) -> None:
    for number in range(12):
        await get(gateways[number % 2])
    for gateway in gateways:
        await gateway.reporter.tick()

    one, two = (gateway.rooms.snapshot()["drop"] for gateway in gateways)

    assert (one["waiting"], one["active"], one["admitted"]) == (7, 5, 5)
    assert {name: value for name, value in one.items() if name != "responses"} == {
        name: value for name, value in two.items() if name != "responses"
    }
