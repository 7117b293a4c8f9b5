"""Rules of a breaker for calls that overlap and end in any order."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from checkout.errors import DependencyTripped
from gateway.config.policies import Breaker as Table
from gateway.resilience.breaker import Breaker, GuardedCall
from gateway.resilience.breaker_model import State
from gateway.resilience.breaker_window import ramp_share

TABLE = Table(window_s=4.0, min_calls=3, open_s=1.0, max_open_s=8.0, ramp_s=3.0, slow_call_s=1.0)


class BreakerRules(RuleBasedStateMachine):
    """Calls begin, overlap and end in any order, time passes, and operators meddle."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 100.0
        self.chance = 0.5
        self.running: list[GuardedCall] = []
        self.probes: list[GuardedCall] = []
        self.opened_at = 0.0
        # A probe was given up, or an operator has ended a drill.
        self.may_come_at_once = False
        self.is_forced_open = False
        self.changes: list[State] = []
        self.breaker = Breaker(
            "it",
            TABLE,
            clock=lambda: self.time,
            now=lambda: self.time,
            rng=lambda: self.chance,
            on_change=lambda _name, change: self.changed(change.state),
        )

    def changed(self, state: State) -> None:
        before = self.changes[-1] if self.changes else State.CLOSED
        allowed = {
            State.CLOSED: {State.OPEN},
            State.OPEN: {State.HALF_OPEN, State.OPEN},  # again only by an operator
            State.HALF_OPEN: {State.RAMPING, State.OPEN},
            State.RAMPING: {State.CLOSED, State.OPEN},
        }
        assert state in allowed[before]
        self.changes.append(state)
        if state is State.OPEN:
            self.opened_at = self.time
            self.may_come_at_once = False

    @rule(seconds=st.floats(0, 5), chance=st.floats(0, 0.999))
    def time_passes(self, seconds: float, chance: float) -> None:
        self.time += seconds
        self.chance = chance

    @rule()
    def a_call_begins(self) -> None:
        before, due_before = self.breaker.state, self.breaker.probe_is_due
        calling = self.breaker.calling()
        try:
            calling.__enter__()
        except DependencyTripped:
            assert before in (State.OPEN, State.HALF_OPEN, State.RAMPING)
            assert not due_before
            return
        self.running.append(calling)
        if before is State.CLOSED:
            return
        if before is State.RAMPING:
            began_at = self.breaker.snapshot()["since"]
            assert self.chance < ramp_share(self.time - began_at, TABLE.ramp_s)
            return
        assert before is State.OPEN, "admitted beside a probe"
        assert self.may_come_at_once or self.time - self.opened_at >= TABLE.open_s / 2, "admitted too early"
        assert not self.is_forced_open, "admitted although forced open"
        self.probes.append(calling)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 1000), outcome=st.sampled_from([None, ValueError(), asyncio.CancelledError()]))
    def a_call_ends(self, which: int, outcome: BaseException | None) -> None:
        calling = self.running.pop(which % len(self.running))
        calling.__exit__(type(outcome) if outcome else None, outcome, None)
        if calling in self.probes:
            self.probes.remove(calling)
            self.may_come_at_once = isinstance(outcome, asyncio.CancelledError)

    @rule()
    def an_operator_cuts_it_off(self) -> None:
        self.breaker.trip("drill")
        self.is_forced_open = True
        self.probes.clear()  # their outcomes are outdated

    @rule()
    def an_operator_lets_it_come_back(self) -> None:
        self.breaker.release()
        self.may_come_at_once = self.may_come_at_once or self.is_forced_open
        self.is_forced_open = False

    @rule(calls=st.integers(0, 10), data=st.data())
    def calls_are_counted_from_outside(self, calls: int, data: Any) -> None:
        self.breaker.record(calls=calls, failures=data.draw(st.integers(0, calls)))

    @invariant()
    def there_is_one_probe_at_most(self) -> None:
        assert len(self.probes) <= 1
        if self.breaker.state is State.HALF_OPEN:
            assert len(self.probes) == 1

    @invariant()
    def a_forced_open_breaker_stays_open(self) -> None:
        if self.is_forced_open:
            assert self.breaker.state is State.OPEN
            assert not self.breaker.admits()

    @invariant()
    def the_wait_is_bounded(self) -> None:
        assert 0 <= self.breaker.retry_after_s <= TABLE.max_open_s


TestBreakerRules = BreakerRules.TestCase
TestBreakerRules.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
