"""What the layer does with those it refuses, and with those it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
import pytest

from gateway.config.policies import CRITICALITIES, Shedding
from gateway.http.message import Handler, Request, Response, resolve
from gateway.resilience.shedding import LONGEST_WAIT_S, STORE, TICK_S, IsReplay, Shedder, shedding
from tests.virtual_time import in_virtual_time, loop_time

NARROW = Shedding(concurrency_least=10, concurrency_most=10)


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
        shedder.limit_of(dependency).entered()


def press(shedder: Shedder, clock: Clock, *, come: str = "browse", for_s: float = 20.0) -> None:
    """Long rounds, in which only one kind comes."""
    for _ in range(int(for_s / 0.125)):
        shedder.passed[CRITICALITIES.index(come)] += 10
        clock.now += 0.125
        shedder.observe(clock.now, 1.0, 1.0)


async def answered(handler: Handler, of: Request | None = None) -> Response:
    return await resolve(handler(of or request()))


def serve(_: Request) -> Response:
    return Response(200)


class Waiting:
    """A handler that waits until it is told what to answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def __call__(self, _: Request) -> Awaitable[Response]:
        return self._wait()

    async def _wait(self) -> Response:
        return await self.answer


def answering(is_replay: bool, asked: list[Request]) -> IsReplay:
    def ask(of: Request) -> Awaitable[bool]:
        asked.append(of)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        future.set_result(is_replay)
        return future

    return ask


# Refusing


async def test_what_is_too_much_is_refused_and_told_when_to_come_again(shedder: Shedder) -> None:
    fill(shedder)

    response = await answered(shedding(shedder, "checkout")(serve))

    assert response.status == 503
    assert orjson.loads(response.body)["type"] == "/problems/overloaded"
    assert response.header_block == b"Retry-After: 1\r\n"


def test_a_refusal_costs_no_coroutine(shedder: Shedder) -> None:
    fill(shedder)

    assert isinstance(shedding(shedder, "browse")(serve)(request()), Response)


def test_the_less_critical_find_the_last_places_kept_for_the_more_critical(shedder: Shedder) -> None:
    passing = []
    for _ in range(16):
        passing.append([name for name in CRITICALITIES if shedding(shedder, name)(serve)(request()).status == 200])  # type: ignore[union-attr]
        fill(shedder, places=1)

    assert [len(names) for names in passing] == [5, 5, 5, 5, 5, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 0]
    assert passing[-2] == ["checkout"]


def test_long_rounds_refuse_the_less_critical(shedder: Shedder, clock: Clock) -> None:
    press(shedder, clock)

    assert not shedder.admits(CRITICALITIES.index("optional"), shedder.limit_of(STORE))
    assert not shedder.admits(CRITICALITIES.index("browse"), shedder.limit_of(STORE))


def test_one_long_round_refuses_nobody(shedder: Shedder, clock: Clock) -> None:
    shedder.passed[CRITICALITIES.index("browse")] += 100
    clock.now += 0.01
    shedder.observe(clock.now, 0.0, 2.0)

    assert shedder.pressure.value == 0
    assert shedder.admits(CRITICALITIES.index("browse"), shedder.limit_of(STORE))


def test_a_dependency_that_hangs_takes_no_room_from_the_others(shedder: Shedder) -> None:
    fill(shedder, "upstream:search")

    assert shedding(shedder, "optional", dependency="upstream:search")(serve)(request()).status == 503  # type: ignore[union-attr]
    assert shedding(shedder, "optional")(serve)(request()).status == 200  # type: ignore[union-attr]


# Retry-After


def refuse_for(shedder: Shedder, clock: Clock, *, refused: int, passed: int, seconds: int = 10) -> None:
    """So many each second, of the browsing kind."""
    for _ in range(seconds):
        shedder.refused[3] += refused
        shedder.passed[3] += passed
        clock.now += 1.0
        shedder.observe(clock.now, 0.0, 0.0)


def told_s(shedder: Shedder, client: str) -> int:
    return int(shedder.retry_after(client).split(b":")[1])


def test_who_is_refused_comes_again_when_the_queue_that_was_sent_away_could_be_served(
    shedder: Shedder, clock: Clock
) -> None:
    refuse_for(shedder, clock, refused=500, passed=100)
    told = [told_s(shedder, f"192.0.2.{number}") for number in range(250)]

    # Twice the refused of a second are about to come again, which takes ten seconds; half of that more or less.
    assert set(told) <= set(range(5, 17))
    assert 9 < sum(told) / len(told) < 12
    assert len(set(told)) > 8


def test_a_client_is_told_the_same_time_when_it_asks_again(shedder: Shedder, clock: Clock) -> None:
    refuse_for(shedder, clock, refused=500, passed=100)

    assert told_s(shedder, "2001:db8::/64") == told_s(shedder, "2001:db8::/64")


def test_however_long_the_queue_nobody_is_sent_away_for_long(shedder: Shedder, clock: Clock) -> None:
    refuse_for(shedder, clock, refused=100_000, passed=0)

    assert max(told_s(shedder, f"client {number}") for number in range(1000)) <= LONGEST_WAIT_S * 1.5 + 1


def test_the_share_refused_lately_is_forgotten_when_it_stops(shedder: Shedder, clock: Clock) -> None:
    refuse_for(shedder, clock, refused=300, passed=100)
    assert shedder.shed_share("browse") == 0.75

    refuse_for(shedder, clock, refused=0, passed=100, seconds=12)

    assert shedder.shed_share("browse") == 0
    assert told_s(shedder, "client") == 1


# Replays


async def test_the_replay_of_a_stored_answer_is_let_through(shedder: Shedder) -> None:
    fill(shedder)
    asked: list[Request] = []
    handler = shedding(shedder, "checkout", is_replay=answering(True, asked))(serve)

    response = await answered(handler)

    assert response.status == 200
    assert (shedder.refused[0], shedder.passed[0], len(asked)) == (0, 1, 1)


async def test_what_is_no_replay_is_refused(shedder: Shedder) -> None:
    fill(shedder)
    handler = shedding(shedder, "checkout", is_replay=answering(False, []))(serve)

    assert (await answered(handler)).status == 503
    assert (shedder.refused[0], shedder.passed[0]) == (1, 0)


async def test_nobody_asks_for_a_stored_answer_while_there_is_room(shedder: Shedder) -> None:
    asked: list[Request] = []
    handler = shedding(shedder, "checkout", is_replay=answering(False, asked))(serve)

    assert (await answered(handler)).status == 200
    assert not asked


# Places


async def test_a_request_that_waits_is_in_hand_until_it_is_answered(shedder: Shedder) -> None:
    waiting = Waiting()
    task = asyncio.ensure_future(answered(shedding(shedder, "browse")(waiting)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert shedder.limit_of(STORE).in_hand == 1

    waiting.answer.set_result(Response(200))

    assert (await task).status == 200
    assert shedder.limit_of(STORE).in_hand == 0


@pytest.mark.parametrize(
    "end",
    [
        lambda waiting, task: task.cancel(),
        lambda waiting, task: waiting.answer.cancel(),
        lambda waiting, task: waiting.answer.set_exception(ConnectionError("the store is gone")),
    ],
    ids=["the shopper hangs up", "the call is cancelled", "the call fails"],
)
async def test_the_place_of_one_that_fails_is_free_again(
    shedder: Shedder, end: Callable[[Waiting, asyncio.Task[Response]], object]
) -> None:
    waiting = Waiting()
    task = asyncio.ensure_future(answered(shedding(shedder, "browse")(waiting)))  # type: ignore[arg-type]
    await asyncio.sleep(0)

    end(waiting, task)
    await asyncio.wait([task])

    assert task.cancelled() or task.exception() is not None
    assert shedder.limit_of(STORE).in_hand == 0


async def test_what_is_answered_at_once_takes_no_place(shedder: Shedder) -> None:
    await answered(shedding(shedder, "browse")(serve))

    assert shedder.limit_of(STORE).in_hand == 0
    assert shedder.passed[3] == 1


# Other policies


def test_switched_off_it_refuses_nobody(shedder: Shedder, clock: Clock) -> None:
    press(shedder, clock)
    fill(shedder)

    shedder.update(Shedding(on=False))

    assert all(shedding(shedder, name)(serve)(request()).status == 200 for name in CRITICALITIES)  # type: ignore[union-attr]
    assert shedder.pressure.value == 0
    assert sum(shedder.refused) == 0


def test_other_bounds_hold_at_once_and_count_who_is_in_hand(shedder: Shedder) -> None:
    fill(shedder)

    shedder.update(Shedding(concurrency_least=40, concurrency_most=40))

    assert shedder.limit_of(STORE).in_hand == 15
    assert shedding(shedder, "optional")(serve)(request()).status == 200  # type: ignore[union-attr]


# Seen from outside


def test_what_it_knows_is_told_to_people_and_machines(shedder: Shedder) -> None:
    fill(shedder)
    shedding(shedder, "browse")(serve)(request())

    told = shedder.snapshot()

    assert orjson.loads(orjson.dumps(told)) == told
    assert (told["limits"], told["in_hand"], told["refused"]["browse"]) == ({STORE: 10}, {STORE: 15}, 1)
    samples = {metric.name: metric.samples for metric in shedder.metrics()}
    assert [each.value for each in samples["peakgate_requests_in_hand"]] == [15.0]
    assert {each.labels["criticality"]: each.value for each in samples["peakgate_shed_requests_total"]} == {
        **dict.fromkeys(CRITICALITIES, 0.0),
        "browse": 1.0,
    }
    assert {metric.kind for metric in shedder.metrics()} == {"gauge", "counter"}


@in_virtual_time
async def test_the_watch_sees_that_a_loop_has_nothing_to_do() -> None:
    shedder = Shedder(Shedding(), clock=loop_time)
    shedder.pressure.observe(10.0, 10.0, 0.1, [0, 0, 0, 10, 0])
    assert shedder.pressure.value > 0
    watch = asyncio.ensure_future(shedder.watch())

    await asyncio.sleep(1.0)

    assert shedder.pressure.value == 0
    watch.cancel()


async def test_the_watch_sees_how_long_the_loop_is_kept_busy(clock: Clock) -> None:
    shedder = Shedder(Shedding(lag_target_s=TICK_S), clock=clock)
    watch = asyncio.ensure_future(shedder.watch())
    loop = asyncio.get_running_loop()
    enough = loop.create_future()
    shedder.passed[3] = 1_000_000

    def work() -> None:
        """A callback that takes long, in every round."""
        clock.now += 0.125
        if shedder.pressure.value > 0:
            enough.set_result(None)
        else:
            loop.call_soon(work)

    loop.call_soon(work)
    await enough

    assert shedder.round_s >= 0.125
    watch.cancel()
