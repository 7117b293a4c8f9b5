"""A circuit breaker: keeps calls away from a dependency that fails or has become slow, and lets it come back gently.

pybreaker's `CircuitBreaker` is the state machine: closed, open, half-open. Around it: a rolling window decides when it
opens, a clock that tests can move when it may be probed, and a ramp follows a good probe, because what has just come
back rarely stands all of its traffic at once.

Its `call` cannot see a coroutine fail, and its `calling()`, held open around an await, takes a cancellation for an
outcome: a shopper who hangs up would close the circuit, or open it. So the outcome of a probe is told to it, through
`calling()`, when there is one.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

import pybreaker

from checkout.errors import DependencyTripped
from gateway.config.policies import Breaker as Table
from gateway.resilience.breaker_window import RAMP_CALLS, RollingWindow, fault_in, open_time_s, ramp_share

_log = logging.getLogger("peakgate")

T = TypeVar("T")
HISTORY: Final = 20
# How soon those may ask again who met a probe under way.
_PROBE_S: Final = 0.1
# pybreaker's own clock is the wall's: it never lets a probe through by itself.
_NEVER_S: Final = 100 * 365 * 86_400


class State(StrEnum):
    """Where a breaker stands."""

    PASSING = "passing"
    TRIPPED = "tripped"
    PROBING = "probing"
    RAMPING = "ramping"


class Change(NamedTuple):
    """A change of state: `at` in Unix seconds, and why."""

    at: float
    state: State
    reason: str


class Breaker:
    """The breaker of the dependency `name`; `table` says when it trips and how it comes back.

    `is_failure` tells which exceptions speak against the dependency: a shopper's fault or a declined payment does not.
    Cancellations never count for anything. `on_change` is called after each change of state.

    A call refused raises `DependencyTripped` at once. Needs no lock: nothing between two awaits is interrupted.
    """

    def __init__(
        self,
        name: str,
        table: Table,
        *,
        is_failure: Callable[[Exception], bool] = lambda _error: True,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
        on_change: Callable[[str, Change], None] | None = None,
    ) -> None:
        self.name = name
        self.table = table
        self.outcomes = {"ok": 0, "slow": 0, "failed": 0, "refused": 0}
        self.changes = dict.fromkeys(State, 0)
        self._is_failure = is_failure
        self._clock = clock
        self._now = now
        self._rng = rng
        self._on_change = on_change
        # It opens when told so: its own count of failures in a row never reaches this.
        self._circuit = pybreaker.CircuitBreaker(
            fail_max=sys.maxsize,
            reset_timeout=_NEVER_S,
            listeners=[_Follower(self._follow)],
            name=name,
            throw_new_error_on_trip=False,
        )
        self._window = RollingWindow(table.window_s)
        self._state = State.PASSING
        self._reason = "started"
        self._latest = Change(now(), State.PASSING, "started")
        self._history = deque([self._latest], maxlen=HISTORY)
        self._trips = 0
        self._probe_at = 0.0
        self._ramp_began_at = 0.0
        self._is_held = False
        # Rises with each trip: what a call begun before it has to tell is no news any more.
        self._era = 0

    # Calls

    def calling(self) -> Calling:
        """Guard the block of a `with`, an await inside it included; raises `DependencyTripped` instead of entering it.

        Leave it once the outcome is known: the whole breaker waits for one that is the probe.
        """
        return Calling(self)

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await `work()`, unless the dependency is cut off. See `checkout.ports.Guard`.

        A failure that trips the breaker, or meets it not yet passing, is raised as `DependencyTripped` too: the caller
        must not take it for the dependency's answer about this one call.
        """
        try:
            with Calling(self):
                return await work()
        except Exception as error:
            if not isinstance(error, DependencyTripped) and self._is_failure(error) and self.state is not State.PASSING:
                raise DependencyTripped(self.name, retry_after_s=self.retry_after_s) from error
            raise

    def observe(self, *, calls: int, failures: int, slow: int = 0) -> None:
        """Count calls that were made without asking, `failures` and `slow` ones among them."""
        self.outcomes["ok"] += calls - failures - slow
        self.outcomes["failed"] += failures
        self.outcomes["slow"] += slow
        if calls and self.state in _OPEN_TO_CALLS:
            self._judge(calls, failures, slow)

    def admits(self) -> bool:
        """Whether a call may be made now, by chance while the ramp lasts. Never lets a probe through."""
        state = self.state
        if state is State.RAMPING:
            return self._rng() < ramp_share(self._clock() - self._ramp_began_at, self.table.ramp_s)
        return state is State.PASSING

    # State

    @property
    def state(self) -> State:
        """Where it stands now. The end of the ramp is noticed when somebody looks."""
        if self._state is State.RAMPING and self._clock() - self._ramp_began_at >= self.table.ramp_s:
            self._recovered()
        return self._state

    @property
    def probe_is_due(self) -> bool:
        """Whether the next call would be the probe."""
        return self._state is State.TRIPPED and not self._is_held and self._clock() >= self._probe_at

    def refuses(self) -> bool:
        """Whether a call would certainly be refused now: False when it would be the probe, or when chance decides."""
        return self._state in _SHUT and not self.probe_is_due

    @property
    def retry_after_s(self) -> float:
        """In how many seconds it makes sense to ask again."""
        if self._is_held:
            return self.table.open_most_s
        if self._state is State.TRIPPED:
            return max(self._probe_at - self._clock(), 0.0)
        if self._state is State.RAMPING:
            return max(self._ramp_began_at + self.table.ramp_s - self._clock(), 0.0)
        return _PROBE_S if self._state is State.PROBING else 0.0

    def trip(self, reason: str) -> None:
        """Cut it off until `release`: an operator's doing, for a drill or because he knows better."""
        self._is_held = True
        self._trip(reason)

    def release(self) -> None:
        """End what `trip` began: the next call is the probe. Nothing happens to one that was not tripped by hand."""
        if self._is_held:
            self._is_held = False
            self._trips = 0
            self._probe_at = self._clock()

    def retable(self, table: Table) -> None:
        """Go by another table from now on; the state stays, and the counts unless the window is another."""
        if table.window_s != self.table.window_s:
            self._window = RollingWindow(table.window_s)
        self.table = table

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`. While it is cut off, `since` and `reason` are of the trip, `latest` of the last probe."""
        state = self.state
        counts = self._window.counts(self._clock())
        since = self._history[-1]
        return {
            "state": state.value,
            "reason": since.reason,
            "since": since.at,
            "latest": {"at": self._latest.at, "reason": self._latest.reason},
            "held": self._is_held,
            "retry_after_s": round(self.retry_after_s, 3),
            "window": counts._asdict(),
            "outcomes": dict(self.outcomes),
            "history": [
                {"at": change.at, "state": change.state.value, "reason": change.reason} for change in self._history
            ],
        }

    # What calls and pybreaker tell

    def enter(self, call: Calling) -> None:
        """For `Calling`: let the call through, perhaps as the probe, or raise `DependencyTripped`."""
        call.is_probe = False
        if self._state is not State.PASSING and not self.admits():
            if not self.probe_is_due:
                self.outcomes["refused"] += 1
                raise DependencyTripped(self.name, retry_after_s=self.retry_after_s)
            self._reason = "a probe is under way"
            self._circuit.half_open()
            call.is_probe = True
        call.era = self._era
        call.begun_at = self._clock()

    def leave(self, call: Calling, error: BaseException | None) -> None:
        """For `Calling`: a call that was let through has ended."""
        is_current = call.era == self._era
        if error is not None and not isinstance(error, Exception):
            if call.is_probe and is_current:
                # Nobody learned anything, so the next one may try at once, and the back-off is as it was.
                self._trip("the probe was given up", is_failure=False)
            return
        failed = call.why is not None or (error is not None and self._is_failure(error))
        slow = not failed and self._clock() - call.begun_at >= self.table.slow_call_s
        self.outcomes["failed" if failed else "slow" if slow else "ok"] += 1
        if not is_current:
            return
        if call.is_probe:
            self._conclude_probe(call.why or _words(error) if failed else "it was slow" if slow else None)
        else:
            self._judge(1, int(failed), int(slow))

    def _conclude_probe(self, why_not: str | None) -> None:
        self._reason = f"the probe failed: {why_not}" if why_not else "the probe succeeded"
        with contextlib.suppress(_ProbeFailed), self._circuit.calling():
            if why_not:
                raise _ProbeFailed

    def _judge(self, calls: int, failures: int, slow: int) -> None:
        table, now = self.table, self._clock()
        self._window.add(now, calls=calls, failures=failures, slow=slow)
        if not failures and not slow:
            return
        is_ramping = self._state is State.RAMPING
        fault = fault_in(
            self._window.counts(now),
            minimum_calls=min(table.minimum_calls, RAMP_CALLS) if is_ramping else table.minimum_calls,
            failure_rate=table.failure_rate,
            slow_rate=table.slow_rate,
        )
        if fault is not None:
            self._trip(fault)

    def _trip(self, reason: str, *, is_failure: bool = True) -> None:
        self._reason = reason
        trips = self._trips
        self._circuit.open()
        if not is_failure:
            self._trips, self._probe_at = trips, self._clock()

    def _recovered(self) -> None:
        """The ramp is over. To pybreaker it was closed all the time."""
        self._trips = 0
        self._enter(State.PASSING, "all calls pass again")

    def _follow(self, circuit_state: str) -> None:
        """The circuit has changed its state."""
        if circuit_state == pybreaker.STATE_OPEN:
            self._era += 1
            self._trips += 1
            self._probe_at = self._clock() + open_time_s(
                self._trips, first_s=self.table.open_s, most_s=self.table.open_most_s, chance=self._rng()
            )
            self._enter(State.TRIPPED, self._reason)
        elif circuit_state == pybreaker.STATE_HALF_OPEN:
            self._enter(State.PROBING, self._reason)
        else:
            self._window.clear()
            self._ramp_began_at = self._clock()
            self._enter(State.RAMPING, self._reason)

    def _enter(self, state: State, reason: str) -> None:
        before, self._state = self._state, state
        change = self._latest = Change(self._now(), state, reason)
        self.changes[state] += 1
        # A probe that fails is no news, and there may be one a second for hours: what is kept is how it began.
        is_of_a_probe = state is State.PROBING or (state is State.TRIPPED and before is State.PROBING)
        if self._is_held or not is_of_a_probe:
            self._history.append(change)
            level = logging.WARNING if state is State.TRIPPED else logging.INFO
            _log.log(level, "%s is %s: %s", self.name, state, reason)
        if self._on_change is not None:
            self._on_change(self.name, change)


class Calling:
    """One guarded call: the `with` block of `Breaker.calling`."""

    __slots__ = ("_breaker", "begun_at", "era", "is_probe", "why")

    begun_at: float
    era: int
    is_probe: bool

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self.why: str | None = None

    def failed(self, why: str) -> None:
        """The call has failed although nothing was raised, such as an answer with status 503."""
        self.why = why

    def __enter__(self) -> Self:
        self._breaker.enter(self)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._breaker.leave(self, error)


class _Follower(pybreaker.CircuitBreakerListener):
    def __init__(self, follow: Callable[[str], None]) -> None:
        self._follow = follow

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,  # noqa: ARG002 - it has one
        old_state: pybreaker.CircuitBreakerState | None,  # noqa: ARG002 - the history tells
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        self._follow(new_state.name)


class _ProbeFailed(Exception):
    """Tells pybreaker so."""


_OPEN_TO_CALLS: Final = (State.PASSING, State.RAMPING)
_SHUT: Final = (State.TRIPPED, State.PROBING)


def _words(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
