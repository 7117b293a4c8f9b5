"""A breaker with a clock and a random number that the test sets."""

from __future__ import annotations

import asyncio

import pytest

from checkout.errors import Declined, DependencyTripped, ServiceUnavailable
from gateway.config.policies import Breaker as Table
from gateway.resilience.breaker import Breaker
from gateway.resilience.breaker_model import Change, State
from gateway.resilience.breakers import Breakers

TABLE = Table(min_calls=4, open_s=1.0, max_open_s=30.0, ramp_s=5.0, slow_call_s=2.0)


class Bench:
    """A breaker, its clock, its chance, and the changes it published."""

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

    def is_in(self, state: State) -> bool:
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
            with pytest.raises((ServiceUnavailable, DependencyTripped)):
                await self.call(ServiceUnavailable("no reply"))

    async def opened(self) -> Bench:
        await self.fail(TABLE.min_calls)
        assert self.is_in(State.OPEN)
        return self

    async def ramping(self) -> Bench:
        await self.opened()
        self.time += 1.0
        assert await self.call() == "done"
        assert self.is_in(State.RAMPING)
        return self


async def test_it_stays_closed_while_few_calls_fail() -> None:
    bench = Bench()
    for _ in range(10):
        assert await bench.call() == "done"
        await bench.fail(0)
    with pytest.raises(ServiceUnavailable):
        await bench.call(ServiceUnavailable("once"))
    assert bench.is_in(State.CLOSED)


async def test_it_trips_at_the_failure_rate_after_the_minimum_of_calls() -> None:
    bench = Bench()
    await bench.fail(3)
    assert bench.is_in(State.CLOSED)
    await bench.fail(1)
    assert bench.is_in(State.OPEN)
    assert bench.breaker.snapshot()["reason"] == "4 of 4 calls failed"


async def test_it_trips_at_the_rate_of_slow_calls() -> None:
    bench = Bench()
    for _ in range(4):
        await bench.call(takes_s=2.0)
    assert bench.is_in(State.OPEN)
    assert bench.breaker.snapshot()["reason"] == "4 of 4 calls were slow"


async def test_an_error_that_is_no_failure_does_not_trip_it() -> None:
    bench = Bench()
    for _ in range(20):
        with pytest.raises(Declined):
            await bench.call(Declined("no funds"))
    assert bench.is_in(State.CLOSED)
    assert bench.breaker.outcomes["failed"] == 0


async def test_an_error_that_is_no_failure_counts_as_a_good_call() -> None:
    bench = Bench()
    for _ in range(5):
        with pytest.raises(Declined):
            await bench.call(Declined("no funds"))
    await bench.fail(4)
    assert bench.breaker.snapshot()["window"] == {"calls": 9, "failures": 4, "slow": 0}
    assert bench.is_in(State.CLOSED)


async def test_a_cancellation_is_neither_success_nor_failure() -> None:
    bench = Bench()
    for _ in range(20):
        with pytest.raises(asyncio.CancelledError):
            await bench.call(asyncio.CancelledError())
    assert bench.is_in(State.CLOSED)
    assert bench.breaker.snapshot()["window"]["calls"] == 0


async def test_a_failure_without_an_exception_counts() -> None:
    bench = Bench()
    for _ in range(4):
        with bench.breaker.calling() as call:
            call.failed("status 503")
    assert bench.is_in(State.OPEN)


async def test_an_open_breaker_rejects_at_once_and_says_when_to_retry() -> None:
    bench = await Bench().opened()
    bench.time += 0.4
    with pytest.raises(DependencyTripped) as refused:
        await bench.call()
    assert refused.value.name == "payment"
    assert refused.value.retry_after_s == pytest.approx(0.6, abs=0.01)
    assert bench.breaker.outcomes["rejected"] == 1


async def test_a_failure_that_trips_is_raised_as_an_outage() -> None:
    bench = Bench()
    await bench.fail(3)
    with pytest.raises(DependencyTripped) as tripped:
        await bench.call(ServiceUnavailable("no reply"))
    assert isinstance(tripped.value.__cause__, ServiceUnavailable)


async def test_an_error_that_is_no_failure_is_raised_in_any_state() -> None:
    bench = await Bench().ramping()
    bench.chance = 0.0
    with pytest.raises(Declined):
        await bench.call(Declined("no funds"))


async def test_is_rejecting_is_false_for_a_probe_and_for_chance() -> None:
    bench = Bench()
    assert not bench.breaker.is_rejecting()
    await bench.opened()
    assert bench.breaker.is_rejecting()
    bench.time += 1.0
    assert not bench.breaker.is_rejecting(), "it would be the probe"
    with bench.breaker.calling():
        assert bench.breaker.is_rejecting()
    assert not bench.breaker.is_rejecting(), "chance decides"


async def test_only_one_probe_runs_at_a_time() -> None:
    bench = await Bench().opened()
    bench.time += 1.0
    with bench.breaker.calling():
        assert bench.is_in(State.HALF_OPEN)
        with pytest.raises(DependencyTripped):
            await bench.call()
    assert bench.is_in(State.RAMPING)


async def test_a_cancelled_probe_allows_the_next_one_at_once() -> None:
    bench = await Bench().opened()
    bench.time += 1.0
    with pytest.raises(asyncio.CancelledError):
        await bench.call(asyncio.CancelledError())
    assert bench.is_in(State.OPEN)
    assert await bench.call() == "done"
    assert bench.is_in(State.RAMPING)


async def test_a_cancelled_probe_does_not_lengthen_the_delay_after_the_next_one() -> None:
    bench = await Bench().opened()
    bench.time += 1.0
    for _ in range(5):
        with pytest.raises(asyncio.CancelledError):
            await bench.call(asyncio.CancelledError())
    await bench.fail(1)
    assert bench.breaker.retry_after_s == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("slow", [False, True])
async def test_each_failed_or_slow_probe_doubles_the_delay_up_to_its_maximum(slow: bool) -> None:
    bench = await Bench().opened()
    waits = []
    for _ in range(7):
        waits.append(round(bench.breaker.retry_after_s))
        bench.time += bench.breaker.retry_after_s
        if slow:
            await bench.call(takes_s=2.0)
        else:
            await bench.fail(1)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert bench.is_in(State.OPEN)


async def test_a_good_probe_begins_a_ramp() -> None:
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
    assert bench.is_in(State.CLOSED)


async def test_failures_in_the_ramp_trip_it_again_for_longer() -> None:
    bench = await Bench().ramping()
    bench.chance = 0.0
    await bench.fail(TABLE.min_calls)
    assert bench.is_in(State.OPEN)
    assert bench.breaker.retry_after_s == pytest.approx(1.0)  # the half of two seconds, as chance has it


async def test_fewer_calls_are_enough_to_trip_during_the_ramp() -> None:
    bench = Bench(Table(min_calls=20, open_s=1.0, ramp_s=5.0))
    await bench.fail(20)
    bench.time += 1.0
    await bench.call()
    bench.chance = 0.0
    await bench.fail(4)
    assert bench.is_in(State.RAMPING)
    await bench.fail(1)
    assert bench.is_in(State.OPEN)


async def test_the_end_of_the_ramp_resets_the_delay() -> None:
    bench = await Bench().opened()
    bench.time += 1.0
    await bench.fail(1)
    bench.time += 2.0
    await bench.call()
    bench.time += 5.0
    assert bench.is_in(State.CLOSED)
    await bench.fail(TABLE.min_calls)
    assert bench.breaker.retry_after_s == pytest.approx(1.0, abs=0.01)


async def test_the_outcome_of_a_call_from_before_the_trip_is_ignored() -> None:
    bench = Bench()
    with bench.breaker.calling() as call:
        await bench.ramping()
        call.failed("late")
    assert bench.is_in(State.RAMPING)
    assert bench.breaker.snapshot()["window"]["calls"] == 0


async def test_a_good_call_from_before_the_trip_is_not_counted_in_the_ramp() -> None:
    bench = Bench()
    with bench.breaker.calling():
        await bench.ramping()
        bench.breaker.table = Table(slow_call_s=60.0)
    assert bench.breaker.snapshot()["window"]["calls"] == 0
    assert bench.breaker.outcomes["ok"] == 2


async def test_without_a_ramp_a_good_probe_closes_it() -> None:
    bench = Bench(Table(min_calls=4, ramp_s=0.0))
    await bench.fail(4)
    bench.time += 1.0
    await bench.call()
    assert bench.is_in(State.CLOSED)


# Operators


async def test_a_drill_lasts_until_its_release() -> None:
    bench = Bench()
    bench.breaker.trip("drill")
    bench.time += 10_000
    with pytest.raises(DependencyTripped):
        await bench.call()
    snapshot = bench.breaker.snapshot()
    assert (snapshot["state"], snapshot["reason"], snapshot["forced_open"]) == ("open", "drill", True)

    bench.breaker.release()
    assert await bench.call() == "done"
    assert bench.is_in(State.RAMPING)


async def test_a_drill_that_begins_during_a_probe_lasts() -> None:
    bench = await Bench().opened()
    bench.time += 1.0
    with bench.breaker.calling():
        bench.breaker.trip("drill")
    assert bench.is_in(State.OPEN)
    assert bench.breaker.snapshot()["reason"] == "drill"
    bench.time += 10_000
    assert not bench.breaker.probe_is_due


async def test_a_release_resets_the_delay() -> None:
    bench = await Bench().opened()
    bench.breaker.trip("drill")
    bench.breaker.release()
    await bench.fail(1)
    assert bench.breaker.retry_after_s == pytest.approx(1.0, abs=0.01)


async def test_a_release_without_a_drill_changes_nothing() -> None:
    bench = await Bench().opened()
    bench.breaker.release()
    with pytest.raises(DependencyTripped):
        await bench.call()


async def test_every_change_is_published_with_its_reason_and_time() -> None:
    bench = await Bench().ramping()
    bench.time += 5.0
    assert bench.is_in(State.CLOSED)
    assert [(name, change.state, change.reason) for name, change in bench.changes] == [
        ("payment", State.OPEN, "4 of 4 calls failed"),
        ("payment", State.HALF_OPEN, "a probe is running"),
        ("payment", State.RAMPING, "the probe succeeded"),
        ("payment", State.CLOSED, "the ramp has ended"),
    ]
    history = bench.breaker.snapshot()["history"]
    assert [entry["state"] for entry in history] == ["closed", "open", "ramping", "closed"]
    assert history[-1]["at"] == 1_795_000_000.0 + bench.time


async def test_failed_probes_do_not_hide_the_first_trip(caplog: pytest.LogCaptureFixture) -> None:
    bench = await Bench().opened()
    opened_at = bench.breaker.snapshot()["since"]
    for _ in range(50):
        bench.time += bench.breaker.retry_after_s
        await bench.fail(1)
    snapshot = bench.breaker.snapshot()
    assert (snapshot["reason"], snapshot["since"]) == ("4 of 4 calls failed", opened_at)
    assert snapshot["latest"]["reason"] == "the probe failed: ServiceUnavailable: no reply"
    assert snapshot["latest"]["at"] == 1_795_000_000.0 + bench.time
    assert [entry["state"] for entry in snapshot["history"]] == ["closed", "open"]
    assert caplog.messages == ["the breaker of payment is open: 4 of 4 calls failed"]


async def test_recorded_calls_trip_it_too() -> None:
    bench = Bench()
    bench.breaker.record(calls=100, failures=49)
    assert {outcome: bench.breaker.outcomes[outcome] for outcome in ("ok", "failed", "slow")} == {
        "ok": 51,
        "failed": 49,
        "slow": 0,
    }
    assert bench.is_in(State.CLOSED)
    bench.breaker.record(calls=20, failures=20)
    assert bench.is_in(State.OPEN)
    bench.breaker.record(calls=20, failures=20)
    assert len(bench.changes) == 1


# The registry


async def test_a_reload_keeps_the_state_and_changes_the_rules() -> None:
    breakers = Breakers({"payment": Table(min_calls=4)})
    payment = breakers.of("payment")
    breakers.trip("payment", "drill")
    breakers.update({"payment": Table(min_calls=9, window_s=3.0)})
    assert breakers.of("payment") is payment
    assert (payment.state, payment.table.min_calls) == (State.OPEN, 9)
    breakers.update({})
    assert payment.table.min_calls == 5  # the default of payment


async def test_a_reload_keeps_the_delay_after_failed_probes() -> None:
    bench = await Bench().opened()
    bench.breaker.reconfigure(Table(min_calls=4, open_s=3.0, max_open_s=30.0))
    bench.time += 1.0
    await bench.fail(1)
    assert bench.breaker.retry_after_s == pytest.approx(6.0, abs=0.01)


async def test_the_registry_has_the_state_and_metrics_of_every_breaker() -> None:
    breakers = Breakers({})
    breakers.of("store")
    breakers.of("payment")
    breakers.trip("store", "drill")
    assert breakers.states() == {"store": "open", "payment": "closed"}
    assert breakers.snapshot()["store"]["reason"] == "drill"
    families = {metric.name: metric.samples for metric in breakers.metrics()}
    states = {
        sample.labels["dependency"]: sample.labels["state"]
        for sample in families["peakgate_breaker_state"]
        if sample.value
    }
    assert states == {"store": "open", "payment": "closed"}
    assert all(name.startswith("peakgate_breaker_") for name in families)

    breakers.release("store")
    breakers.retain(["payment"])
    assert breakers.states() == {"payment": "closed"}


async def test_an_unknown_dependency_cannot_be_drilled() -> None:
    with pytest.raises(KeyError):
        Breakers({}).trip("nothing", "drill")
