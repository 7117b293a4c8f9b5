"""The load shedding layer: rejected requests, admitted ones, replays and requests in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
import pytest

from gateway.config.policies import CRITICALITIES, Shedding
from gateway.http.message import Handler, Request, Response, resolve
from gateway.resilience.shedder import MAX_RETRY_S, TICK_S, Shedder
from gateway.resilience.shedding import STORE, IsReplay, shedding
from tests.virtual_time import in_virtual_time, loop_time

BROWSE = CRITICALITIES.index("browse")
NARROW = Shedding(min_concurrency=10, max_concurrency=10)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shedder(clock: Clock) -> Shedder:
    return Shedder(NARROW, clock=clock, rng=lambda: 0.5)


def request(client: str = "192.0.2.1") -> Request:
    return Request("GET", "/x", "", {}, b"", "id-1", (), client)


def fill(shedder: Shedder, dependency: str = STORE, *, places: int = 15) -> None:
    for _ in range(places):
        shedder.limit_of(dependency).acquire()


def press(shedder: Shedder, clock: Clock, *, come: str = "browse", for_s: float = 20.0) -> None:
    """A high loop lag, with arrivals of one kind only."""
    for _ in range(int(for_s / 0.125)):
        shedder.admitted[CRITICALITIES.index(come)] += 10
        clock.now += 0.125
        shedder.observe(clock.now, 1.0, 1.0)


async def answered(handler: Handler, of: Request | None = None) -> Response:
    return await resolve(handler(of or request()))


def serve(_: Request) -> Response:
    return Response(200)


class Waiting:
    """A handler that waits for the response that the test sets."""

    def __init__(self) -> None:
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def __call__(self, _: Request) -> Awaitable[Response]:
        return self._wait()

    async def _wait(self) -> Response:
        return await self.response


def answering(is_replay: bool, asked: list[Request]) -> IsReplay:
    def ask(of: Request) -> Awaitable[bool]:
        asked.append(of)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        future.set_result(is_replay)
        return future

    return ask


# Shedding


async def test_a_shed_request_gets_retry_after(shedder: Shedder) -> None:
    fill(shedder)

    response = await answered(shedding(shedder, "checkout")(serve))

    assert response.status == 503
    assert orjson.loads(response.body)["type"] == "/problems/overloaded"
    assert response.header_block == b"Retry-After: 1\r\n"


def test_shedding_needs_no_coroutine(shedder: Shedder) -> None:
    fill(shedder)

    assert isinstance(shedding(shedder, "browse")(serve)(request()), Response)


def test_the_last_places_are_reserved_for_the_more_critical(shedder: Shedder) -> None:
    passing = []
    for _ in range(16):
        passing.append([name for name in CRITICALITIES if shedding(shedder, name)(serve)(request()).status == 200])  # type: ignore[union-attr]
        fill(shedder, places=1)

    assert [len(names) for names in passing] == [6, 6, 6, 6, 6, 6, 5, 3, 2, 1, 1, 1, 1, 1, 1, 0]
    assert passing[-2] == ["checkout"]


def test_a_high_lag_sheds_the_less_critical(shedder: Shedder, clock: Clock) -> None:
    press(shedder, clock)

    assert not shedder.admits(CRITICALITIES.index("optional"), shedder.limit_of(STORE))
    assert not shedder.admits(CRITICALITIES.index("browse"), shedder.limit_of(STORE))


def test_it_is_strained_from_the_first_shed_request_until_a_while_after_the_last(
    shedder: Shedder, clock: Clock
) -> None:
    strained = [shedder.is_strained]
    press(shedder, clock)
    strained.append(shedder.is_strained)
    assert not shedder.admits(BROWSE, shedder.limit_of(STORE))
    for _ in range(int(10 / TICK_S)):
        clock.now += TICK_S
        shedder.observe(clock.now, 0.0, 0.0)
    strained.append(shedder.is_strained)
    press(shedder, clock)
    shedder.update(Shedding(enabled=False))
    strained.append(shedder.is_strained)
    assert strained == [False, True, False, False]


def test_it_is_strained_after_a_dependency_had_no_room_for_a_request(shedder: Shedder, clock: Clock) -> None:
    fill(shedder)
    assert not shedder.admits(BROWSE, shedder.limit_of(STORE))
    clock.now += 1.0
    shedder.observe(clock.now, 0.0, 0.0)
    assert shedder.is_strained


def test_early_rejection_begins_when_a_criticality_is_shed_as_a_whole(shedder: Shedder, clock: Clock) -> None:
    reported: list[bool] = []
    shedder.on_shedding_all = reported.append
    press(shedder, clock)
    assert shedder.sheds_all(CRITICALITIES.index("optional"))
    assert reported == [True]

    shedder.update(Shedding(enabled=False))
    shedder.observe(clock.now, 1.0, 1.0)

    assert not shedder.sheds_all(CRITICALITIES.index("optional"))
    assert reported == [True, False]


def test_a_single_high_lag_sheds_nothing(shedder: Shedder, clock: Clock) -> None:
    shedder.admitted[CRITICALITIES.index("browse")] += 100
    clock.now += 0.01
    shedder.observe(clock.now, 0.0, 2.0)

    assert shedder.pressure.value == 0
    assert shedder.admits(CRITICALITIES.index("browse"), shedder.limit_of(STORE))


def test_a_dependency_that_hangs_takes_no_room_from_the_others(shedder: Shedder) -> None:
    fill(shedder, "upstream:search")

    assert shedding(shedder, "optional", dependency="upstream:search")(serve)(request()).status == 503  # type: ignore[union-attr]
    assert shedding(shedder, "optional")(serve)(request()).status == 200  # type: ignore[union-attr]


# Retry-After


def shed_for(shedder: Shedder, clock: Clock, *, shed: int, admitted: int, seconds: int = 10) -> None:
    """So many requests a second, all of the kind `browse`."""
    for _ in range(seconds):
        shedder.shed[BROWSE] += shed
        shedder.admitted[BROWSE] += admitted
        clock.now += 1.0
        shedder.observe(clock.now, 0.0, 0.0)


def retry_s(shedder: Shedder, client: str) -> int:
    return int(shedder.retry_after(client).split(b":")[1])


def test_shed_clients_retry_when_the_backlog_could_be_served(shedder: Shedder, clock: Clock) -> None:
    shed_for(shedder, clock, shed=500, admitted=100)
    seconds = [retry_s(shedder, f"192.0.2.{number}") for number in range(250)]

    # Twice the shed requests of a second are about to be retried, which takes ten seconds; half of that more or less.
    assert set(seconds) <= set(range(5, 17))
    assert 9 < sum(seconds) / len(seconds) < 12
    assert len(set(seconds)) > 8


def test_a_client_gets_the_same_retry_time_again(shedder: Shedder, clock: Clock) -> None:
    shed_for(shedder, clock, shed=500, admitted=100)

    assert retry_s(shedder, "2001:db8::/64") == retry_s(shedder, "2001:db8::/64")


def test_the_retry_time_has_a_maximum_for_any_backlog(shedder: Shedder, clock: Clock) -> None:
    shed_for(shedder, clock, shed=100_000, admitted=0)

    assert max(retry_s(shedder, f"client {number}") for number in range(1000)) <= MAX_RETRY_S * 1.5 + 1


def test_the_recent_share_falls_to_zero_when_shedding_stops(shedder: Shedder, clock: Clock) -> None:
    shed_for(shedder, clock, shed=300, admitted=100)
    assert shedder.shed_share("browse") == 0.75

    shed_for(shedder, clock, shed=0, admitted=100, seconds=12)

    assert shedder.shed_share("browse") == 0
    assert retry_s(shedder, "client") == 1


# Replays


async def test_the_replay_of_a_stored_response_is_admitted(shedder: Shedder) -> None:
    fill(shedder)
    asked: list[Request] = []
    handler = shedding(shedder, "checkout", is_replay=answering(True, asked))(serve)

    response = await answered(handler)

    assert response.status == 200
    assert (shedder.shed[0], shedder.admitted[0], len(asked)) == (0, 1, 1)


async def test_a_request_that_is_no_replay_is_shed(shedder: Shedder) -> None:
    fill(shedder)
    handler = shedding(shedder, "checkout", is_replay=answering(False, []))(serve)

    assert (await answered(handler)).status == 503
    assert (shedder.shed[0], shedder.admitted[0]) == (1, 0)


async def test_stored_responses_are_not_looked_up_while_there_is_room(shedder: Shedder) -> None:
    asked: list[Request] = []
    handler = shedding(shedder, "checkout", is_replay=answering(False, asked))(serve)

    assert (await answered(handler)).status == 200
    assert not asked


# Requests in flight


async def test_a_request_is_in_flight_until_its_response(shedder: Shedder) -> None:
    waiting = Waiting()
    task = asyncio.ensure_future(answered(shedding(shedder, "browse")(waiting)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert shedder.limit_of(STORE).in_flight == 1

    waiting.response.set_result(Response(200))

    assert (await task).status == 200
    assert shedder.limit_of(STORE).in_flight == 0


@pytest.mark.parametrize(
    "end",
    [
        lambda waiting, task: task.cancel(),
        lambda waiting, task: waiting.response.cancel(),
        lambda waiting, task: waiting.response.set_exception(ConnectionError("the store is gone")),
    ],
    ids=["the client disconnects", "the call is cancelled", "the call fails"],
)
async def test_a_failed_request_is_no_longer_in_flight(
    shedder: Shedder, end: Callable[[Waiting, asyncio.Task[Response]], object]
) -> None:
    waiting = Waiting()
    task = asyncio.ensure_future(answered(shedding(shedder, "browse")(waiting)))  # type: ignore[arg-type]
    await asyncio.sleep(0)

    end(waiting, task)
    await asyncio.wait([task])

    assert task.cancelled() or task.exception() is not None
    assert shedder.limit_of(STORE).in_flight == 0


async def test_a_response_without_waiting_is_never_in_flight(shedder: Shedder) -> None:
    await answered(shedding(shedder, "browse")(serve))

    assert shedder.limit_of(STORE).in_flight == 0
    assert shedder.admitted[BROWSE] == 1


# Other policies


def test_switched_off_it_sheds_nothing(shedder: Shedder, clock: Clock) -> None:
    press(shedder, clock)
    fill(shedder)

    shedder.update(Shedding(enabled=False))

    assert all(shedding(shedder, name)(serve)(request()).status == 200 for name in CRITICALITIES)  # type: ignore[union-attr]
    assert shedder.pressure.value == 0
    assert sum(shedder.shed) == 0


def test_other_bounds_apply_at_once_to_the_requests_in_flight(shedder: Shedder) -> None:
    fill(shedder)

    shedder.update(Shedding(min_concurrency=40, max_concurrency=40))

    assert shedder.limit_of(STORE).in_flight == 15
    assert shedding(shedder, "optional")(serve)(request()).status == 200  # type: ignore[union-attr]


# Snapshot and metrics


def test_its_snapshot_and_metrics(shedder: Shedder) -> None:
    fill(shedder)
    shedding(shedder, "browse")(serve)(request())

    snapshot = shedder.snapshot()

    assert orjson.loads(orjson.dumps(snapshot)) == snapshot
    assert (snapshot["limits"], snapshot["in_flight"], snapshot["shed"]["browse"]) == ({STORE: 10}, {STORE: 15}, 1)
    samples = {metric.name: metric.samples for metric in shedder.metrics()}
    assert [each.value for each in samples["peakgate_requests_in_flight"]] == [15.0]
    assert {each.labels["criticality"]: each.value for each in samples["peakgate_shed_requests_total"]} == {
        **dict.fromkeys(CRITICALITIES, 0.0),
        "browse": 1.0,
    }
    assert {metric.kind for metric in shedder.metrics()} == {"gauge", "counter"}


@in_virtual_time
async def test_the_watch_measures_an_idle_loop() -> None:
    shedder = Shedder(Shedding(), clock=loop_time)
    shedder.pressure.observe(10.0, 10.0, 0.1, [10 * (name == "browse") for name in CRITICALITIES])
    assert shedder.pressure.value > 0
    watch = asyncio.ensure_future(shedder.watch())

    await asyncio.sleep(1.0)

    assert shedder.pressure.value == 0
    watch.cancel()


async def test_the_watch_measures_a_busy_loop(clock: Clock) -> None:
    shedder = Shedder(Shedding(lag_target_s=TICK_S), clock=clock)
    watch = asyncio.ensure_future(shedder.watch())
    loop = asyncio.get_running_loop()
    enough = loop.create_future()
    shedder.admitted[BROWSE] = 1_000_000

    def work() -> None:
        """A callback that takes long, in every iteration of the loop."""
        clock.now += 0.125
        if shedder.pressure.value > 0:
            enough.set_result(None)
        else:
            loop.call_soon(work)

    loop.call_soon(work)
    await enough

    assert shedder.lag_s >= 0.125
    watch.cancel()
