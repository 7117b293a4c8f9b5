"""How the parts of a worker tell what they count: `metrics()` of each yields these, the console gathers them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct


class Sample(Struct, frozen=True):
    """One value with its labels. Labels take few values: names of the file and of routes, never of shoppers."""

    labels: dict[str, str]
    value: float


class Metric(Struct, frozen=True):
    """One family, named as Prometheus wants it: `peakgate_…`, base units, counters ending in `_total`.

    A histogram's samples have the label `le` with cumulated counts, `+Inf` last, besides one with the label `sum`.
    """

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    samples: list[Sample]


class Observed(Protocol):
    """A part that can be looked at."""

    def snapshot(self) -> Mapping[str, Any]:
        """Its state for people: JSON values only."""
        ...

    def metrics(self) -> Iterable[Metric]:
        """Its counts for machines."""
        ...
