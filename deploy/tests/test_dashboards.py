"""The dashboards are as generated, every panel explains itself, and Prometheus can read every query."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from promtool import promtool

OBSERVABILITY = Path(__file__).resolve().parent.parent / "observability"
DASHBOARDS = sorted((OBSERVABILITY / "dashboards").glob("*.json"))


def panels(path: Path) -> Iterator[dict[str, Any]]:
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        yield from panel.get("panels") or ([] if panel["type"] == "row" else [panel])


def test_the_generated_files_are_current() -> None:
    program = [sys.executable, str(OBSERVABILITY / "generate"), "--check"]
    result = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_there_are_four_of_them() -> None:
    assert [path.stem for path in DASHBOARDS] == ["edge", "orders", "overview", "store"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_has_a_title_an_explanation_a_unit_and_a_query(path: Path) -> None:
    for panel in panels(path):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]


def test_plots_of_response_times_ask_for_exemplars_and_no_others_do() -> None:
    targets = [target for path in DASHBOARDS for panel in panels(path) for target in panel["targets"]]
    asking = {target["expr"] for target in targets if target.get("exemplar")}
    assert asking == {each["expr"] for each in targets if "peakgate_request_seconds_bucket" in each["expr"]} != set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_prometheus_reads_every_query(path: Path, tmp_path: Path) -> None:
    queries = [
        target["expr"].replace("$__rate_interval", "1m") for panel in panels(path) for target in panel["targets"]
    ]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    result = promtool("check", "rules", str(file))
    assert result.returncode == 0, result.stdout + result.stderr
