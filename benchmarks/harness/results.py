"""Measured values with their targets, and the files in results/."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from benchmarks.replay.tables import table

RESULTS = Path(__file__).parents[1] / "results"
_PACKAGES = ("peakgate", "aiohttp", "uvloop", "orjson", "msgspec", "redis", "hiredis")


@dataclass(frozen=True, slots=True)
class Result:
    """One measured value. The target is its maximum; a result without one is for information."""

    name: str
    measured: float
    unit: str
    target: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.target is None else self.measured <= self.target

    def as_json(self) -> dict[str, Any]:
        """The row of the results file."""
        row = {"name": self.name, "measured": round(self.measured, 4), "unit": self.unit, "target": self.target}
        return row | {"met": self.met} | ({"note": self.note} if self.note else {})


def results_table(results: Sequence[Result]) -> str:
    """The results as a table of text."""
    rows = [
        (result.name, number(result.measured), result.unit, _at_most(result.target), _MET[result.met], result.note)
        for result in results
    ]
    return table(("result", "measured", "unit", "target", "met", "note"), rows, left=(0, 2, 5))


def number(value: float) -> str:
    """Three significant digits or more, never in powers of ten."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def write_results(name: str, settings: Mapping[str, Any], parts: Mapping[str, Any], results: Sequence[Result]) -> Path:
    """Write `results/<name>.json` with the results, the machine and the versions; returns its path."""
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "machine": machine(),
        "versions": versions(),
        "settings": settings,
        **parts,
        "results": [result.as_json() for result in results],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return path


def machine() -> dict[str, Any]:
    """Cores, CPU model and kernel."""
    return {"cores": os.cpu_count(), "cpu": _cpu_model(), "kernel": platform.release()}


def versions() -> dict[str, str]:
    """Python and the packages on the hot path."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


_MET = {True: "yes", False: "no", None: ""}


def _at_most(target: float | None) -> str:
    return "" if target is None else f"≤ {number(target)}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
