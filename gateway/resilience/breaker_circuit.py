"""The circuit of a breaker: pybreaker's state machine, with a storage that counts in a rolling window."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pybreaker

from gateway.resilience.breaker_window import RollingWindow

# pybreaker's own timeout runs by the wall clock. It never ends: `Breaker` half-opens the circuit, by its own clock.
_NEVER_S = 100 * 365 * 86_400


class CallFault(Exception):
    """A call has failed."""


class SlowCall(CallFault):
    """A call has succeeded, but took too long."""


class WindowStorage(pybreaker.CircuitMemoryStorage):
    """The storage of one circuit. Its failure counter is 1 while the calls of the window are reason to trip, else 0.

    pybreaker counts failures in a row, which a busy dependency that fails half of its calls never has many of.
    """

    def __init__(self, window: RollingWindow, trip_reason: Callable[[], str | None]) -> None:
        super().__init__(pybreaker.STATE_CLOSED)
        self.window = window
        self._trip_reason = trip_reason

    @property
    def counter(self) -> int:
        """See `pybreaker.CircuitBreakerStorage.counter`."""
        return 0 if self._trip_reason() is None else 1


class WindowListener(pybreaker.CircuitBreakerListener):
    """Counts the calls of a circuit in the window of its storage, and reports its changes of state."""

    def __init__(self, storage: WindowStorage, clock: Callable[[], float], on_change: Callable[[str], None]) -> None:
        self._storage = storage
        self._clock = clock
        self._on_change = on_change

    def success(self, cb: pybreaker.CircuitBreaker) -> None:  # noqa: ARG002 - part of the interface
        """Count a good call."""
        self._storage.window.add(self._clock())

    def failure(self, cb: pybreaker.CircuitBreaker, exc: BaseException) -> None:  # noqa: ARG002 - part of the interface
        """Count a failed or slow call. pybreaker reads the counter after this."""
        is_slow = isinstance(exc, SlowCall)
        self._storage.window.add(self._clock(), failures=int(not is_slow), slow=int(is_slow))

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,  # noqa: ARG002 - part of the interface
        old_state: pybreaker.CircuitBreakerState | None,  # noqa: ARG002 - part of the interface
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        """Report the new state."""
        self._on_change(new_state.name)


def circuit(
    name: str,
    storage: WindowStorage,
    *,
    clock: Callable[[], float],
    is_failure: Callable[[Exception], bool],
    on_change: Callable[[str], None],
) -> pybreaker.CircuitBreaker:
    """A closed circuit. `is_failure` says which exceptions count as failures of the dependency."""
    return pybreaker.CircuitBreaker(
        fail_max=1,
        reset_timeout=_NEVER_S,
        exclude=[lambda error: not isinstance(error, CallFault) and not is_failure(error)],
        listeners=[WindowListener(storage, clock, on_change)],
        state_storage=storage,
        name=name,
        throw_new_error_on_trip=False,
    )


def report(breaker: pybreaker.CircuitBreaker, fault: CallFault | None) -> None:
    """Report the outcome of a call that has ended, None for success."""
    with contextlib.suppress(CallFault):
        breaker.call(_end, fault)


def _end(fault: CallFault | None) -> None:
    if fault is not None:
        raise fault
