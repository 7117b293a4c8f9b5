"""Medians and ratios of the hot-path benchmark's samples. Ratios are taken within a round, then their median."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.harness.results import Result, number
from benchmarks.hot_path.rows import NAMES, PEER_ROWS, READ, READ_LONG, SHORT_CART, YARDSTICK, Row, name_by
from benchmarks.load.wrk import LoadResult
from benchmarks.peers.servers import Peer

_MAX_LONG_TO_SHORT = 30


@dataclass(frozen=True, slots=True)
class Sample:
    """One row in one round: CPU microseconds per request, and those of them that were spent in the kernel."""

    cpu_us: float
    system_us: float
    load: LoadResult


@dataclass(frozen=True, slots=True)
class Measured:
    """One row over all rounds; `ratio` is the median of the rounds' ratios to the yardstick of the same traffic.

    `instructions` are those per request in user space, where they are counted.
    """

    row: Row
    samples: Sequence[Sample]
    ratio: float
    instructions: float | None = None

    @property
    def cpu_us(self) -> float:
        """Median CPU microseconds of the server process per request."""
        return median(sample.cpu_us for sample in self.samples)

    @property
    def system_us(self) -> float:
        """Median of those spent in the kernel: reading, writing, waking the other side."""
        return median(sample.system_us for sample in self.samples)

    @property
    def requests_per_s(self) -> float:
        """Median throughput."""
        return median(sample.load.requests / sample.load.seconds for sample in self.samples)

    @property
    def p99_ms(self) -> float:
        """Median of the rounds' 99th percentiles."""
        return median(sample.load.p99_ms for sample in self.samples)

    def as_json(self) -> dict[str, Any]:
        """The row of the results file."""
        document = {
            "name": self.row.name,
            "cpu_us_per_request": round(self.cpu_us, 2),
            "of_it_system_us": round(self.system_us, 2),
            "cpu_us_by_round": [round(sample.cpu_us, 2) for sample in self.samples],
            "ratio": round(self.ratio, 3),
            "requests_per_s": round(self.requests_per_s),
            "p99_ms": round(self.p99_ms, 2),
        }
        return document if self.instructions is None else document | {"instructions": round(self.instructions)}


def summarize(
    rows: Sequence[Row], samples: Mapping[str, Sequence[Sample]], instructions: Mapping[str, float]
) -> list[Measured]:
    """Medians over the rounds, of the rows in their order."""
    return [
        Measured(
            row,
            samples[row.name],
            _ratio(samples[row.name], samples[YARDSTICK + row.traffic]),
            instructions.get(row.name),
        )
        for row in rows
    ]


def ratios_to_yardstick(measured: Sequence[Measured]) -> list[Result]:
    """The rows that have a target, and the long cart's read to the short one's."""
    by_name = {each.row.name: each for each in measured}
    ratios = [
        Result(f"{name}: CPU to the empty handler's", each.ratio, "ratio", each.row.target, f"{number(each.cpu_us)} µs")
        for name, each in by_name.items()
        if each.row.target is not None
    ]
    long, short = by_name.get(NAMES[READ_LONG]), by_name.get(NAMES[READ])
    if long and short:
        name = f"{long.row.name}: CPU to a read of {SHORT_CART}"
        ratio, note = _ratio(long.samples, short.samples), f"{number(long.cpu_us)} µs"
        ratios.append(Result(name, ratio, "ratio", _MAX_LONG_TO_SHORT, note))
    return ratios


def ratios_to_peers(measured: Sequence[Measured]) -> list[Result]:
    """Each row beside the peers that ran, for requests through a balancer."""
    by_name = {each.row.name: each for each in measured}
    return [
        _to_peer(by_name[NAMES[key]], by_name[name_by(peer, key)], peer, target)
        for peer, targets in PEER_ROWS.items()
        for key, target in targets.items()
        if {NAMES[key], name_by(peer, key)} <= by_name.keys()
    ]


def _to_peer(ours: Measured, theirs: Measured, peer: Peer, target: float | None) -> Result:
    note = f"{number(ours.cpu_us)} to {number(theirs.cpu_us)} µs"
    ratio = _ratio(ours.samples, theirs.samples)
    return Result(f"{ours.row.name}: CPU to {peer.name}'s", ratio, "ratio", target, note)


def _ratio(ours: Sequence[Sample], theirs: Sequence[Sample]) -> float:
    return median(one.cpu_us / other.cpu_us for one, other in zip(ours, theirs, strict=True))
