"""The pages for operators name the metrics, parts, breakers and options that exist, and no others."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import msgspec
import pytest

from gateway.config.policies import BREAKERS, Breaker
from gateway.pipeline.degraded import PARTS
from gateway.settings import OPTIONS

ROOT = Path(__file__).parents[3]
PACKAGES = ("gateway", "checkout", "cart", "store", "primitives")
DOCS = sorted((ROOT / "docs").glob("*.md"))
METRIC = re.compile(r"\bpeakgate_[a-z0-9_]+")
LITERAL = re.compile(rf'"({METRIC.pattern})"')
# Those of a waiting room are composed of the names of its gauges.
ROOM_GAUGES = {f"peakgate_room_{name}" for name in ("waiting", "active", "admitted", "factor", "stock")}
# Breakers that are no default of the configuration: made for their dependency.
OTHER_BREAKERS = {"search"}


@cache
def published_metrics() -> frozenset[str]:
    sources = (path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return frozenset(name for source in sources for name in LITERAL.findall(source))


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_list_of_metrics_is_complete_and_true() -> None:
    assert set(METRIC.findall(page("metrics.md"))) == {*published_metrics(), *ROOM_GAUGES}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_a_page_names_no_metric_that_does_not_exist(path: Path) -> None:
    known = {*published_metrics(), *ROOM_GAUGES}
    assert [name for name in METRIC.findall(path.read_text(encoding="utf-8")) if name not in known] == []


def test_metrics_are_named_by_the_conventions() -> None:
    for name in published_metrics():
        assert not re.search(r"_(ms|milliseconds|kb|percent|minutes)(_|$)", name), name
        assert "_count" not in name, name


def test_the_page_of_degraded_operation_has_every_part_and_no_other() -> None:
    assert set(re.findall(r"`Degraded: ([a-z-]+)`", page("degrading.md"))) == set(PARTS)


def test_the_page_of_degraded_operation_drills_every_breaker_and_no_other() -> None:
    named = set(re.findall(r"trip `([a-z]+)`", page("degrading.md")))
    assert named == {*BREAKERS, *OTHER_BREAKERS}


def test_the_page_of_degraded_operation_names_options_that_exist() -> None:
    flags = set(re.findall(r"`--([a-z-]+)", page("degrading.md")))
    assert flags
    assert {flag.replace("-", "_") for flag in flags} <= set(OPTIONS)


def test_the_page_of_degraded_operation_has_the_defaults_of_breakers() -> None:
    text = page("degrading.md")
    for name, value in msgspec.to_builtins(Breaker()).items():
        assert f"`{name}` is {value:g}" in text or f"`{name} = {value:g}`" in text, name
    table = text.split("| | store |")[1].split("\n\n")[0]
    columns = ["store", *(cell.strip() for cell in table.splitlines()[0].split("|")[:-1])]
    defaults = msgspec.to_builtins(Breaker())
    for line in table.splitlines()[2:]:
        names, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for column, cell in zip((column for column in columns if column), cells, strict=True):
            for name, value in zip(re.findall(r"`(\w+)`", names), cell.split(","), strict=True):
                for dependency in column.split(", "):
                    assert getattr(BREAKERS[dependency], name) == float(value), (dependency, name)
    for dependency, breaker in BREAKERS.items():
        differing = {name for name, value in msgspec.to_builtins(breaker).items() if value != defaults[name]}
        assert differing <= set(re.findall(r"`(\w+)`", table)), dependency
