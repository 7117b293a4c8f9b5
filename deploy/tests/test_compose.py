"""The parts of compose.yaml are wired to each other, and to files that exist."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from promtool import promtool

DEPLOY = Path(__file__).resolve().parent.parent
PROGRAM = DEPLOY.parent / ".venv-deploy" / "bin" / "docker-compose"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """As Compose understands the file."""
    command = [PROGRAM, "--file", DEPLOY / "compose.yaml", "config", "--format", "json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return dict(json.loads(result.stdout)["services"])


def test_it_has_every_part(services: dict[str, Any]) -> None:
    assert set(services) == {
        "edge", "worker", "keys", "cluster", "queue", "prometheus", "grafana", "collector",
        *(f"valkey-{number}" for number in (1, 2, 3)),
    }  # fmt: skip


def test_edge_and_worker_share_store_queue_keys_and_collector(services: dict[str, Any]) -> None:
    edge, worker = services["edge"]["environment"], services["worker"]["environment"]
    different = {name for name in edge.keys() | worker.keys() if edge.get(name) != worker.get(name)}
    assert different == {"PEAKGATE_ROLE", "PEAKGATE_CATALOG"}
    assert "valkey-1" in edge["PEAKGATE_STORE_URL"]
    assert edge["PEAKGATE_QUEUE_URL"].startswith(edge["PEAKGATE_AWS_ENDPOINT_URL"])


def test_each_has_the_time_to_drain(services: dict[str, Any]) -> None:
    for name in ("edge", "worker"):
        grace = float(services[name]["environment"]["PEAKGATE_DRAIN_GRACE"])
        assert services[name]["stop_grace_period"] == f"{grace + 25 + 5:g}s"


def test_every_mounted_file_exists(services: dict[str, Any]) -> None:
    bound = [
        each["source"] for service in services.values() for each in service.get("volumes", ()) if each["type"] == "bind"
    ]
    assert len(bound) >= 6
    assert [path for path in bound if not Path(path).exists()] == []


def test_images_of_others_have_a_version(services: dict[str, Any]) -> None:
    images = {service["image"] for name, service in services.items() if name not in {"edge", "worker", "keys"}}
    assert [image for image in images if ":" not in image or image.endswith(":latest")] == []


def test_names_in_addresses_are_services(services: dict[str, Any]) -> None:
    scraped = yaml.safe_load((DEPLOY / "compose" / "prometheus.yaml").read_text(encoding="utf-8"))["scrape_configs"]
    hosts = {target.split(":")[0] for job in scraped for each in job["static_configs"] for target in each["targets"]}
    sources = yaml.safe_load((DEPLOY / "compose" / "grafana-sources.yaml").read_text(encoding="utf-8"))["datasources"]
    hosts |= {each["url"].split("//")[1].split(":")[0] for each in sources}
    assert hosts <= set(services)


def test_prometheus_reads_its_configuration() -> None:
    result = promtool("check", "config", "--syntax-only", str(DEPLOY / "compose" / "prometheus.yaml"))
    assert result.returncode == 0, result.stdout + result.stderr
