"""Prometheus' checker finds no fault in the page of metrics, and dashboards and rules ask for what is on it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running_shop import CATALOGUE, UNSHED, RunningShop, eventually

OBSERVABILITY = Path(__file__).parents[2] / "deploy" / "observability"
# A selector: a name, and matchers in braces where it has some.
SELECTOR = re.compile(r"\b(peakgate_[a-z0-9_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r"([a-z_]+)(?:=~|!~|!=|=)\"")
POLICIES = """
[[rooms]]
name = "drop"
routes = ["GET /v1/products"]
admissions_per_s = 100
max_active = 100
"""
# They are there when something went wrong, or after hours.
RARE = {"peakgate_store_losses_total"}
# Labels that Prometheus adds.
OF_THE_SCRAPE = {"instance", "job"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The metrics of a gateway that has sold something, refused something and audited its books."""
    folder = tmp_path_factory.mktemp("observed")
    policies = folder / "peakgate.toml"
    policies.write_text(POLICIES + UNSHED, encoding="utf-8")
    shop = RunningShop(folder / "data")
    shop.start("--config", str(policies), "--audit-every", "1", "--catalog", str(CATALOGUE))
    try:
        assert shop.check_out(shop.cart_of(_85123A=1)).status == 202
        assert shop.call("GET", "/v1/nowhere").status == 404
        shop.call("GET", "/v1/products")
        wanted = (
            "peakgate_audit_orders{",
            'peakgate_order_changes_total{reason="",status="completed"',
            "peakgate_orders{",
        )
        yield eventually(
            lambda: str(shop.admin("GET", "/metrics").body), lambda text: all(each in text for each in wanted)
        )
    finally:
        shop.kill()


@pytest.fixture(scope="module")
def labels(page: str) -> Mapping[str, set[str]]:
    """The labels of each sample's name; of a family without samples none."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        found.setdefault(family.name + ("_total" if family.type == "counter" else ""), set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def queries() -> Iterator[tuple[str, str]]:
    for path in sorted((OBSERVABILITY / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for each in panel.get("panels") or [panel]:
                yield from ((f"{path.name}: {each['title']}", target["expr"]) for target in each.get("targets") or ())
    for path in sorted((OBSERVABILITY / "rules").glob("*.yaml")):
        yield path.name, path.read_text(encoding="utf-8")


def test_prometheus_finds_no_fault_in_the_page(page: str) -> None:
    if shutil.which("promtool") is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is missing; Debian has it in the package prometheus")
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=300, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_every_metric_of_a_query_is_on_the_page(labels: Mapping[str, set[str]]) -> None:
    wanted = {(where, name) for where, query in queries() for name, _ in SELECTOR.findall(query)}
    assert len(wanted) > 50
    assert sorted(f"{where}: {name}" for where, name in wanted if name not in labels and name not in RARE) == []


def test_every_label_that_a_query_matches_is_on_the_page(labels: Mapping[str, set[str]]) -> None:
    wrong = [
        f"{where}: {name} has no label {label}"
        for where, query in queries()
        for name, matchers in SELECTOR.findall(query)
        for label in MATCHER.findall(matchers)
        if labels.get(name) and label not in labels[name] | OF_THE_SCRAPE
    ]
    assert wrong == []
