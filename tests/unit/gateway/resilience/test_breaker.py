"""What a breaker lets through, with a clock and a chance that the test moves."""

from __future__ import annotations

import asyncio

import pytest

from checkout.errors import Declined, DependencyTripped, NoAnswer
from gateway.config.policies import Breaker as Table
from gateway.resilience.breaker import Breaker, Change, State
from gateway.resilience.breakers import Breakers

TABLE = Table(minimum_calls=4, open_s=1.0, open_most_s=30.0, ramp_s=5.0, slow_call_s=2.0)


class Bench:
    """A breaker, its clock, its chance, and the changes it told."""

    def __init__(self, table: Table = TABLE) -> None:
        self.time = 1000.0
        self.chance = 0.999
        self.changes: list[tuple[str, Change]] = []
        self.breaker = Breaker(
            "payment",
            table,
            is_failure=lambda error: not isinstance(error, Declined),
            clock=lambda: self.time,
            now=lambda: 1_795_000_000.0 + self.time,
            rng=lambda: self.chance,
            on_change=lambda name, change: self.changes.append((name, change)),
        )

    def stands(self, state: State) -> bool:
        return self.breaker.state is state

    async def call(self, error: BaseException | None = None, *, takes_s: float = 0.0) -> str:
        async def work() -> str:
            self.time += takes_s
            if error is not None:
                raise error
            return "done"

        return await self.breaker.call(work)

    async def fail(self, times: int) -> None:
        for _ in range(times):
            with pytest.raises((NoAnswer, DependencyTripped)):
                await self.call(NoAnswer("nobody there"))

    async def tripped(self) -> Bench:
        await self.fail(TABLE.minimum_calls)
        assert self.stands(State.TRIPPED)
        return self

    async def ramping(self) -> Bench:
        await self.tripped()
        self.time += 1.0
        assert await self.call() == "done"
        assert self.stands(State.RAMPING)
        return self


async def test_it_passes_calls_on_while_few_fail() -> None:
    bench = Bench()
    for _ in range(10):
        assert await bench.call() == "done"
        await bench.fail(0)
    with pytest.raises(NoAnswer):
        await bench.call(NoAnswer("once"))
    assert bench.stands(State.PASSING)


async def test_it_trips_at_the_rate_of_failures_once_it_knows_enough() -> None:
    bench = Bench()
    await bench.fail(3)
    assert bench.stands(State.PASSING)
    await bench.fail(1)
    assert bench.stands(State.TRIPPED)
    assert bench.breaker.snapshot()["reason"] == "4 of 4 calls failed"


async def test_it_trips_at_the_rate_of_slow_calls() -> None:
    bench = Bench()
    for _ in range(4):
        await bench.call(takes_s=2.0)
    assert bench.stands(State.TRIPPED)
    assert bench.breaker.snapshot()["reason"] == "4 of 4 calls were slow"


async def test_what_is_no_fault_of_the_dependency_does_not_trip_it() -> None:
    bench = Bench()
    for _ in range(20):
        with pytest.raises(Declined):
            await bench.call(Declined("no funds"))
    assert bench.stands(State.PASSING)
    assert bench.breaker.outcomes["failed"] == 0


async def test_a_cancellation_is_neither_success_nor_failure() -> None:
    bench = Bench()
    for _ in range(20):
        with pytest.raises(asyncio.CancelledError):
            await bench.call(asyncio.CancelledError())
    assert bench.stands(State.PASSING)
    assert bench.breaker.snapshot()["window"]["calls"] == 0


async def test_a_failure_that_needs_no_exception_counts() -> None:
    bench = Bench()
    for _ in range(4):
        with bench.breaker.calling() as call:
            call.failed("status 503")
    assert bench.stands(State.TRIPPED)


async def test_a_tripped_breaker_refuses_at_once_and_says_when_to_come_back() -> None:
    bench = await Bench().tripped()
    bench.time += 0.4
    with pytest.raises(DependencyTripped) as refused:
        await bench.call()
    assert refused.value.name == "payment"
    assert refused.value.retry_after_s == pytest.approx(0.6, abs=0.01)
    assert bench.breaker.outcomes["refused"] == 1


async def test_a_failure_that_trips_is_told_as_that_and_not_as_an_answer_about_the_call() -> None:
    bench = Bench()
    await bench.fail(3)
    with pytest.raises(DependencyTripped) as tripped:
        await bench.call(NoAnswer("nobody there"))
    assert isinstance(tripped.value.__cause__, NoAnswer)


async def test_a_final_no_is_passed_on_whatever_the_state() -> None:
    bench = await Bench().ramping()
    bench.chance = 0.0
    with pytest.raises(Declined):
        await bench.call(Declined("no funds"))


async def test_it_says_beforehand_whether_there_is_no_use_in_trying() -> None:
    bench = Bench()
    assert not bench.breaker.refuses()
    await bench.tripped()
    assert bench.breaker.refuses()
    bench.time += 1.0
    assert not bench.breaker.refuses(), "it would be the probe"
    with bench.breaker.calling():
        assert bench.breaker.refuses()
    assert not bench.breaker.refuses(), "chance decides"


async def test_only_one_probe_is_let_through_at_a_time() -> None:
    bench = await Bench().tripped()
    bench.time += 1.0
    with bench.breaker.calling():
        assert bench.stands(State.PROBING)
        with pytest.raises(DependencyTripped):
            await bench.call()
    assert bench.stands(State.RAMPING)


async def test_a_probe_given_up_makes_room_for_the_next_without_a_longer_wait() -> None:
    bench = await Bench().tripped()
    bench.time += 1.0
    with pytest.raises(asyncio.CancelledError):
        await bench.call(asyncio.CancelledError())
    assert bench.stands(State.TRIPPED)
    assert await bench.call() == "done"
    assert bench.stands(State.RAMPING)


@pytest.mark.parametrize("slow", [False, True])
async def test_each_failed_or_slow_probe_doubles_the_wait_up_to_the_most(slow: bool) -> None:
    bench = await Bench().tripped()
    waits = []
    for _ in range(7):
        waits.append(round(bench.breaker.retry_after_s))
        bench.time += bench.breaker.retry_after_s
        if slow:
            await bench.call(takes_s=2.0)
        else:
            await bench.fail(1)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert bench.stands(State.TRIPPED)


async def test_after_a_good_probe_a_rising_share_is_let_through() -> None:
    bench = await Bench().ramping()
    bench.chance = 0.5
    with pytest.raises(DependencyTripped):
        await bench.call()
    bench.time += 2.5
    assert await bench.call() == "done"
    bench.chance = 0.99
    with pytest.raises(DependencyTripped):
        await bench.call()
    bench.time += 2.5
    assert await bench.call() == "done"
    assert bench.stands(State.PASSING)


async def test_failures_in_the_ramp_trip_it_again_for_longer() -> None:
    bench = await Bench().ramping()
    bench.chance = 0.0
    await bench.fail(TABLE.minimum_calls)
    assert bench.stands(State.TRIPPED)
    assert bench.breaker.retry_after_s == pytest.approx(1.0)  # the half of two seconds, as chance has it


async def test_once_all_calls_pass_again_the_wait_is_short_again() -> None:
    bench = await Bench().tripped()
    bench.time += 1.0
    await bench.fail(1)
    bench.time += 2.0
    await bench.call()
    bench.time += 5.0
    assert bench.stands(State.PASSING)
    await bench.fail(TABLE.minimum_calls)
    assert bench.breaker.retry_after_s == pytest.approx(1.0, abs=0.01)


async def test_what_a_call_from_before_the_trip_has_to_tell_is_no_news() -> None:
    bench = Bench()
    with bench.breaker.calling() as call:
        await bench.ramping()
        call.failed("late")
    assert bench.stands(State.RAMPING)
    assert bench.breaker.snapshot()["window"]["calls"] == 0


async def test_a_breaker_without_a_ramp_passes_all_after_a_good_probe() -> None:
    bench = Bench(Table(minimum_calls=4, ramp_s=0.0))
    await bench.fail(4)
    bench.time += 1.0
    await bench.call()
    assert bench.stands(State.PASSING)


# Operators


async def test_a_drill_cuts_off_until_it_is_ended() -> None:
    bench = Bench()
    bench.breaker.trip("drill")
    bench.time += 10_000
    with pytest.raises(DependencyTripped):
        await bench.call()
    snapshot = bench.breaker.snapshot()
    assert (snapshot["state"], snapshot["reason"], snapshot["held"]) == ("tripped", "drill", True)

    bench.breaker.release()
    assert await bench.call() == "done"
    assert bench.stands(State.RAMPING)


async def test_a_drill_that_begins_during_a_probe_stands() -> None:
    bench = await Bench().tripped()
    bench.time += 1.0
    with bench.breaker.calling():
        bench.breaker.trip("drill")
    assert bench.stands(State.TRIPPED)
    assert bench.breaker.snapshot()["reason"] == "drill"
    bench.time += 10_000
    assert not bench.breaker.probe_is_due


async def test_ending_a_drill_that_never_began_changes_nothing() -> None:
    bench = await Bench().tripped()
    bench.breaker.release()
    with pytest.raises(DependencyTripped):
        await bench.call()


async def test_every_change_is_told_with_its_reason_and_time() -> None:
    bench = await Bench().ramping()
    bench.time += 5.0
    assert bench.stands(State.PASSING)
    assert [(name, change.state, change.reason) for name, change in bench.changes] == [
        ("payment", State.TRIPPED, "4 of 4 calls failed"),
        ("payment", State.PROBING, "a probe is under way"),
        ("payment", State.RAMPING, "the probe succeeded"),
        ("payment", State.PASSING, "all calls pass again"),
    ]
    history = bench.breaker.snapshot()["history"]
    assert [entry["state"] for entry in history] == ["passing", "tripped", "ramping", "passing"]
    assert history[-1]["at"] == 1_795_000_000.0 + bench.time


async def test_failed_probes_do_not_hide_how_it_began(caplog: pytest.LogCaptureFixture) -> None:
    bench = await Bench().tripped()
    tripped_at = bench.breaker.snapshot()["since"]
    for _ in range(50):
        bench.time += bench.breaker.retry_after_s
        await bench.fail(1)
    snapshot = bench.breaker.snapshot()
    assert (snapshot["reason"], snapshot["since"]) == ("4 of 4 calls failed", tripped_at)
    assert snapshot["latest"]["reason"] == "the probe failed: NoAnswer: nobody there"
    assert snapshot["latest"]["at"] == 1_795_000_000.0 + bench.time
    assert [entry["state"] for entry in snapshot["history"]] == ["passing", "tripped"]
    assert caplog.messages == ["payment is tripped: 4 of 4 calls failed"]


async def test_calls_counted_from_outside_trip_it_too() -> None:
    bench = Bench()
    bench.breaker.observe(calls=100, failures=49)
    assert bench.stands(State.PASSING)
    bench.breaker.observe(calls=20, failures=20)
    assert bench.stands(State.TRIPPED)
    bench.breaker.observe(calls=20, failures=20)
    assert len(bench.changes) == 1


# The registry


async def test_a_reload_keeps_the_state_and_changes_the_rules() -> None:
    breakers = Breakers({"payment": Table(minimum_calls=4)})
    payment = breakers.of("payment")
    breakers.trip("payment", "drill")
    breakers.update({"payment": Table(minimum_calls=9, window_s=3.0)})
    assert breakers.of("payment") is payment
    assert (payment.state, payment.table.minimum_calls) == (State.TRIPPED, 9)
    breakers.update({})
    assert payment.table.minimum_calls == 5  # what fits a payment service


async def test_the_registry_shows_and_counts_every_breaker() -> None:
    breakers = Breakers({})
    breakers.of("store")
    breakers.of("payment")
    breakers.trip("store", "drill")
    assert breakers.states() == {"store": "tripped", "payment": "passing"}
    assert breakers.snapshot()["store"]["reason"] == "drill"
    families = {metric.name: metric.samples for metric in breakers.metrics()}
    states = {
        sample.labels["dependency"]: sample.labels["state"]
        for sample in families["peakgate_breaker_state"]
        if sample.value
    }
    assert states == {"store": "tripped", "payment": "passing"}
    assert all(name.startswith("peakgate_breaker_") for name in families)

    breakers.release("store")
    breakers.keep(["payment"])
    assert breakers.states() == {"payment": "passing"}


async def test_an_unknown_dependency_cannot_be_drilled() -> None:
    with pytest.raises(KeyError):
        Breakers({}).trip("nothing", "drill")
