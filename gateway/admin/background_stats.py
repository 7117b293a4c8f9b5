"""The background tasks of a worker as operators see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from gateway.metrics import Metric, Sample
from primitives.background import BackgroundTasks


class BackgroundStats:
    """Snapshot and metrics of all tasks."""

    def __init__(self, tasks: BackgroundTasks) -> None:
        self._tasks = tasks

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {name: asdict(state) for name, state in self._tasks.states.items()}

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        states = self._tasks.states.items()
        yield Metric(
            "peakgate_background_task_running",
            "1 while a background task runs, 0 while it waits for its restart.",
            "gauge",
            [Sample({"task": name}, float(state.is_running)) for name, state in states],
        )
        yield Metric(
            "peakgate_background_task_restarts_total",
            "How often a background task died and was restarted.",
            "counter",
            [Sample({"task": name}, float(state.restarts)) for name, state in states],
        )
