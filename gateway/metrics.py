"""Metrics: samples and families that the parts of a worker publish; the admin API gathers them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct


class Exemplar(Struct, frozen=True):
    """One observation that a bucket of a histogram counts, with the trace that explains it."""

    trace_id: str
    value: float


class Sample(Struct, frozen=True, omit_defaults=True):
    """One value with its labels. Labels have few values: names of the configuration and of routes, never of shoppers."""

    labels: dict[str, str]
    value: float
    exemplar: Exemplar | None = None


class Metric(Struct, frozen=True):
    """One family, named as Prometheus wants it: `peakgate_…`, base units, counters ending in `_total`.

    A histogram's samples have the label `le` with cumulated counts, `+Inf` last, besides one with the label `sum`.
    """

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    samples: list[Sample]


class Observed(Protocol):
    """A part of a worker that operators can look at."""

    def snapshot(self) -> Mapping[str, Any]:
        """Its state for people, as JSON values."""
        ...

    def metrics(self) -> Iterable[Metric]:
        """Its metrics."""
        ...
