"""Metrics of all workers and of the control process in Prometheus' text formats."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import CollectorRegistry
from prometheus_client.samples import Exemplar as PageExemplar

from gateway.admin.status import Gathered, Status
from gateway.build import MODE
from gateway.control.runtime_directory import CONTROL, ChildState
from gateway.metrics import Exemplar, Metric, Sample


def metrics_page(status: Status, gathered: Gathered, *, accept: str) -> tuple[bytes, str]:
    """The page and its content type: the text format, or OpenMetrics where `accept` allows it."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families([*_of_gateway(status, gathered), *_of_control(status), *_of_workers(gathered)]))
    return encode(registry), content_type


class _Families:
    """A collector in the sense of prometheus_client."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._families: dict[str, Family] = {}
        for metric in metrics:
            self._add(metric)

    def collect(self) -> Iterable[Family]:
        return self._families.values()

    def _add(self, metric: Metric) -> None:
        """Merge the metric of all workers into one family: the text format allows one of each name."""
        # The library names a counter's family without the suffix of its samples.
        name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = Family(name, metric.help, metric.kind)
        for sample_name, labels, value, exemplar in _samples(metric):
            family.add_sample(sample_name, dict(labels), value, exemplar=_of_trace(exemplar))


def _of_trace(exemplar: Exemplar | None) -> PageExemplar | None:
    # Without a timestamp: Prometheus takes the time of the scrape, and ignores the same exemplar in the next one.
    return None if exemplar is None else PageExemplar({"trace_id": exemplar.trace_id}, exemplar.value)


def _samples(metric: Metric) -> Iterator[tuple[str, Mapping[str, str], float, Exemplar | None]]:
    for sample in metric.samples:
        if metric.kind == "counter":
            yield metric.name.removesuffix("_total") + "_total", sample.labels, sample.value, None
        elif metric.kind == "gauge":
            yield metric.name, sample.labels, sample.value, None
        elif "sum" in sample.labels:
            labels = {name: value for name, value in sample.labels.items() if name != "sum"}
            yield f"{metric.name}_sum", labels, sample.value, None
        else:
            yield f"{metric.name}_bucket", sample.labels, sample.value, sample.exemplar
            if sample.labels["le"] == "+Inf":
                labels = {name: value for name, value in sample.labels.items() if name != "le"}
                yield f"{metric.name}_count", labels, sample.value, None


def _of_workers(gathered: Gathered) -> Iterator[Metric]:
    for view in gathered.workers:
        for metric in view.metrics:
            yield _of_process(view.child.name, metric)


def _of_control(status: Status) -> Iterator[Metric]:
    background = [] if status.background is None else [status.background]
    for part in (*background, *status.own_parts.values()):
        for metric in part.metrics():
            yield _of_process(CONTROL, metric)


def _of_process(name: str, metric: Metric) -> Metric:
    samples = [Sample({"worker": name, **each.labels}, each.value, each.exemplar) for each in metric.samples]
    return Metric(metric.name, metric.help, metric.kind, samples)


def _of_gateway(status: Status, gathered: Gathered) -> Iterator[Metric]:
    reloader = status.reloader
    yield _gauge(
        "peakgate_build_info",
        "1, with the version that is running, and whether its hot modules are compiled or interpreted.",
        [Sample({"version": status.version, "python": platform.python_version(), "mode": MODE}, 1.0)],
    )
    yield _gauge(
        "peakgate_up",
        "1 for a worker that responds to the control process, 0 for one that does not.",
        [Sample({"worker": view.child.name}, float(view.no_reply_because is None)) for view in gathered.workers],
    )
    yield Metric(
        "peakgate_restarts_total",
        "How often a process was restarted after it died.",
        "counter",
        [Sample({"process": child.service}, child.restarts) for child in _by_service(gathered)],
    )
    yield Metric(
        "peakgate_reloads_total",
        "Reloads of the configuration by their outcome.",
        "counter",
        [Sample({"outcome": outcome}, count) for outcome, count in sorted(reloader.counts.items())],
    )
    last = reloader.last
    yield _gauge(
        "peakgate_last_reload_rejected",
        "1 if the last reload was rejected, so that the file is not active.",
        [Sample({}, float(last is not None and last.outcome == "rejected"))],
    )
    if last is not None:
        yield _gauge(
            "peakgate_last_reload_time_seconds", "Time of the last reload, in Unix seconds.", [Sample({}, last.at)]
        )
    yield _gauge(
        "peakgate_settings_need_restart",
        "How many settings of the active file differ from those of the start.",
        [Sample({}, float(len(reloader.needs_restart)))],
    )


def _by_service(gathered: Gathered) -> Iterable[ChildState]:
    return {child.service: child for child in gathered.children}.values()


def _gauge(name: str, description: str, samples: list[Sample]) -> Metric:
    return Metric(name, description, "gauge", samples)
