from pathlib import Path

import orjson
import pytest

from benchmarks.harness import results as results_module
from benchmarks.harness.results import Result, number, results_table, write_results


@pytest.mark.parametrize(("measured", "met"), [(0.69, True), (0.70, True), (0.71, False)])
def test_a_target_is_met_up_to_its_value(measured: float, met: bool) -> None:
    assert Result("cart read", measured, "ratio", 0.70).met is met


def test_a_result_without_a_target_is_neither_met_nor_missed() -> None:
    assert Result("cart read", 20.1, "µs").met is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.456, "0.46"), (23.44, "23.4"), (100.4, "100"), (12345.6, "12,346"), (0, "0.00")]
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_has_the_targets_that_are_met() -> None:
    rows = results_table(
        [
            Result("read", 0.62, "ratio", 0.7),
            Result("start", 1.72, "s", 1.5, "cold"),
            Result("parent", 31.0, "MB"),
        ]
    ).splitlines()

    assert [row.split() for row in rows[2:]] == [
        ["read", "0.62", "ratio", "≤", "0.70", "yes"],
        ["start", "1.72", "s", "≤", "1.50", "no", "cold"],
        ["parent", "31.0", "MB"],
    ]


def test_a_results_file_has_the_machine_and_the_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_module, "RESULTS", tmp_path)

    path = write_results("speed", {"rounds": 5}, {"calls": []}, [Result("read", 0.62, "ratio", 0.7)])

    document = orjson.loads(path.read_bytes())
    assert document["settings"] == {"rounds": 5}
    assert document["results"] == [
        {"name": "read", "measured": 0.62, "unit": "ratio", "target": 0.7, "met": True},
    ]
    assert document["machine"]["cores"] >= 1
    assert {"python", "aiohttp", "uvloop", "hiredis"} <= document["versions"].keys()
    assert document["measured_at"].endswith("Z")
