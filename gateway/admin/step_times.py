"""The times of the order workflow's steps, as a histogram for each step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from checkout.ports.step_observer import StepResult
from gateway.admin.histogram import Histogram
from gateway.metrics import Metric

# Upper bounds in seconds, from a step in the store to a service that uses up its deadline and its retries.
BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class StepTimes:
    """A `StepObserver` that counts calls by step, result and time."""

    def __init__(self) -> None:
        self._stats: dict[tuple[str, StepResult], Histogram] = {}

    def step_called(self, step: str, seconds: float, result: StepResult) -> None:
        """See `StepObserver.step_called`."""
        times = self._stats.get((step, result))
        if times is None:
            times = self._stats[step, result] = Histogram(BOUNDS)
        times.add(seconds)

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`: of each step its calls, and their mean time in milliseconds."""
        steps: dict[str, dict[str, float]] = {}
        for (step, result), times in sorted(self._stats.items()):
            shown = steps.setdefault(step, {"done": 0, "declined": 0, "failed": 0, "mean_ms": 0.0})
            shown[result] = times.count
            if result == "done":
                shown["mean_ms"] = round(times.seconds / times.count * 1000, 2)
        return steps

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_order_step_seconds",
            "Time of a call of an order's step with its retries, by step and result: done, declined, failed.",
            "histogram",
            [
                sample
                for (step, result), times in sorted(self._stats.items())
                for sample in times.samples({"step": step, "result": result})
            ],
        )
