"""All circuit breakers of a worker, by the name of their dependency."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gateway.config.policies import BREAKERS
from gateway.config.policies import Breaker as Table
from gateway.metrics import Metric, Sample
from gateway.resilience.breaker import Breaker
from gateway.resilience.breaker_model import Change, State


class Breakers:
    """The registry. The breaker of a dependency is created by its first `of` and stays the same from then on.

    `tables` are those of the file, by name; a dependency without one has its defaults. Long-lived: `update` applies
    other tables and keeps every state.
    """

    def __init__(
        self,
        tables: Mapping[str, Table],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
        on_change: Callable[[str, Change], None] | None = None,
    ) -> None:
        self._tables = tables
        self._clock = clock
        self._now = now
        self._rng = rng
        self._on_change = on_change
        self._breakers: dict[str, Breaker] = {}

    def of(self, name: str, *, is_failure: Callable[[Exception], bool] | None = None) -> Breaker:
        """The breaker of a dependency. `is_failure` is used by the first call only, which creates it."""
        breaker = self._breakers.get(name)
        if breaker is None:
            options: dict[str, Any] = {} if is_failure is None else {"is_failure": is_failure}
            breaker = self._breakers[name] = Breaker(
                name,
                self._table(name),
                clock=self._clock,
                now=self._now,
                rng=self._rng,
                on_change=self._on_change,
                **options,
            )
        return breaker

    def update(self, tables: Mapping[str, Table]) -> None:
        """Apply these tables; a dependency without one has its defaults again."""
        self._tables = tables
        for name, breaker in self._breakers.items():
            breaker.reconfigure(self._table(name))

    def retain(self, names: Iterable[str]) -> None:
        """Drop the breakers of all other dependencies, which are gone from the file."""
        names = set(names)
        self._breakers = {name: breaker for name, breaker in self._breakers.items() if _dependency(name) in names}

    def discard(self, name: str) -> None:
        """Drop the breaker of a server that is gone, if there is one."""
        self._breakers.pop(name, None)

    def trip(self, name: str, reason: str) -> None:
        """Force a breaker open until `release`, for a drill. The name of a dependency means all its servers.

        Raises `KeyError` for a dependency without a breaker.
        """
        for breaker in self._named(name):
            breaker.trip(reason)

    def release(self, name: str) -> None:
        """Let a dependency recover that `trip` cut off: by a probe, then a ramp. Raises `KeyError`."""
        for breaker in self._named(name):
            breaker.release()

    def _named(self, name: str) -> Sequence[Breaker]:
        named = [self._breakers[name]] if name in self._breakers else self._of_servers(name)
        if not named:
            raise KeyError(name)
        return named

    def _of_servers(self, dependency: str) -> Sequence[Breaker]:
        return [breaker for name, breaker in self._breakers.items() if _dependency(name) == dependency]

    def are_closed(self, dependency: str) -> bool:
        """Whether the breakers of a dependency, of all its servers, are closed."""
        return all(breaker.state is State.CLOSED for breaker in self._of_servers(dependency))

    def are_rejecting(self, dependency: str) -> bool:
        """Whether a call would certainly be rejected now, whichever server of the dependency it goes to."""
        breakers = self._of_servers(dependency)
        return bool(breakers) and all(breaker.is_rejecting() for breaker in breakers)

    def states(self) -> dict[str, str]:
        """The state of each breaker."""
        return {name: breaker.state.value for name, breaker in self._breakers.items()}

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {name: breaker.snapshot() for name, breaker in self._breakers.items()}

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        breakers = self._breakers.items()
        yield Metric(
            "peakgate_breaker_state",
            "1 for the state that the breaker of a dependency is in, 0 for the others.",
            "gauge",
            [
                Sample({"dependency": name, "state": state.value}, float(breaker.state is state))
                for name, breaker in breakers
                for state in State
            ],
        )
        yield Metric(
            "peakgate_breaker_calls_total",
            "Calls of a dependency by outcome; rejected calls were not made.",
            "counter",
            [
                Sample({"dependency": name, "outcome": outcome}, float(count))
                for name, breaker in breakers
                for outcome, count in breaker.outcomes.items()
            ],
        )
        yield Metric(
            "peakgate_breaker_changes_total",
            "Changes of the breaker of a dependency, by the state it changed to.",
            "counter",
            [
                Sample({"dependency": name, "state": state.value}, float(count))
                for name, breaker in breakers
                for state, count in breaker.changes.items()
            ],
        )

    def _table(self, name: str) -> Table:
        dependency = _dependency(name)
        return self._tables.get(dependency) or BREAKERS.get(dependency) or Table()


def _dependency(name: str) -> str:
    """The dependency of a breaker: `store@host:port` is the breaker of one server of `store`."""
    return name.partition("@")[0]
