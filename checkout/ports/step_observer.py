"""An observer of the workflow's steps, for metrics."""

from __future__ import annotations

from typing import Literal, Protocol

StepResult = Literal["done", "declined", "failed"]


class StepObserver(Protocol):
    """Sees each call of a step."""

    def step_called(self, step: str, seconds: float, result: StepResult) -> None:
        """A call of `step` took `seconds`, its retries included, and succeeded, was declined for good, or raised.

        `step` is the name of the step in the workflow's table, so there are few of them. Called between awaits, so it
        must be fast and must not raise.
        """
        ...


class UnobservedSteps:
    """A `StepObserver` that drops all."""

    def step_called(self, step: str, seconds: float, result: StepResult) -> None:
        """See `StepObserver.step_called`."""
