"""Four CI systems run the same stages; a release goes on by its figures, and production goes back by itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

STAGES = ["check", "test", "image", "staging", "smoke", "load", "production", "purge"]
FILES = ["github.yaml", "bitbucket-pipelines.yml", "Jenkinsfile", "buildspec.yml"]
DIGEST = "registry.example/peakgate@sha256:" + "a" * 64
BEFORE = "registry.example/peakgate@sha256:" + "b" * 64
SETTINGS = {
    "REPOSITORY": "registry.example/peakgate",
    "REVISION": "f00",
    "TEMPLATES": "templates",
    "FIGURES": "figures",
    "DISTRIBUTION": "EDFDVBD6",
    "STAGING_URL": "https://staging.shop.example",
    "PRODUCTION_URL": "https://shop.example",
}


def pipeline(root: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    path = f"{root / 'bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "CALLS": str(root / "calls"), **settings}
    # By this Python: one that is found by its name may put folders of its own before ours.
    command = [sys.executable, root / "deploy/pipeline", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", FILES)
def test_every_system_runs_every_stage_in_the_same_order(deploy: Path, name: str) -> None:
    text = (deploy / "pipelines" / name).read_text()
    assert re.findall(r"deploy/pipeline (\w+)", re.sub(r"(?m)^\s*(#|//).*$", "", text)) == STAGES


def test_actions_of_others_are_pinned_by_commit_and_no_token_stays_in_the_checkout(deploy: Path) -> None:
    (job,) = yaml.safe_load((deploy / "pipelines/github.yaml").read_text())["jobs"].values()
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", each) for each in used)
    assert job["steps"][0]["with"]["persist-credentials"] is False


def test_every_setting_of_the_stages_is_explained_and_set_where_files_set_them(deploy: Path) -> None:
    needed = {*re.findall(r'"([A-Z_]{4,})"', (deploy / "pipeline").read_text())} - {"TARGET", "HEAD", "PROMETHEUS_URL"}
    assert needed == set(SETTINGS)
    explained = (deploy / "pipelines/README.md").read_text()
    assert all(f"`{name}`" in explained for name in [*needed, "TARGET", "PROMETHEUS_URL"])
    (job,) = yaml.safe_load((deploy / "pipelines/github.yaml").read_text())["jobs"].values()
    assert set(job["env"]) == needed


@pytest.mark.parametrize("target", ["aws", "kubernetes"])
def test_both_targets_deploy_the_image_of_the_build_by_its_digest(deploy: Path, target: str) -> None:
    for stage in ("staging", "production"):
        printed = pipeline(
            deploy.parent, "--dry-run", stage, TARGET=target, PROMETHEUS_URL="http://prometheus", **SETTINGS
        ).stdout
        assert "cat build/pipeline/image" in printed or "cut -d@ -f2 build/pipeline/image" in printed
        assert "latest" not in printed


def test_a_stage_names_the_settings_that_it_lacks(deploy: Path) -> None:
    done = pipeline(deploy.parent, "--dry-run", "image", REVISION="f00")
    assert done.returncode == 64
    assert "set REPOSITORY;" in done.stderr


@pytest.fixture
def release(deploy: Path, tmp_path: Path) -> Path:
    """A folder with the script, and programs in place of those that it calls: each notes its words, and fails if a file says so."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "build/pipeline").mkdir(parents=True)
    (tmp_path / "build/pipeline/image").write_text(DIGEST)
    shutil.copy(deploy / "pipeline", tmp_path / "deploy/pipeline")
    for program in ("bin/aws", "bin/helm", "bin/sleep", "deploy/smoke"):
        stand_in(tmp_path / program, f'echo "{program} $*" >> "$CALLS"')
    return tmp_path


def stand_in(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


def images_of(root: Path) -> list[str]:
    """The images that were deployed, one after the other."""
    return re.findall(r"Environment=production Image=(\S+)", (root / "calls").read_text())


def aws_of(root: Path, *lines: str) -> None:
    stand_in(
        root / "bin/aws", 'echo "aws $*" >> "$CALLS"', f'case "$*" in *describe-stacks*) echo {BEFORE} ;; esac', *lines
    )


def test_production_is_deployed_proven_and_watched(release: Path) -> None:
    aws_of(release)
    done = pipeline(release, "production", **SETTINGS)
    assert done.returncode == 0, done.stderr
    assert images_of(release) == [DIGEST]
    calls = (release / "calls").read_text()
    assert "deploy/smoke https://shop.example --no-order" in calls
    assert calls.count("describe-alarms") == 10


def test_production_goes_back_when_the_smoke_test_fails(release: Path) -> None:
    aws_of(release)
    stand_in(release / "deploy/smoke", "exit 1")
    done = pipeline(release, "production", **SETTINGS)
    assert done.returncode == 1
    assert images_of(release) == [DIGEST, BEFORE]


def test_production_goes_back_when_an_alarm_rises(release: Path) -> None:
    aws_of(release, 'case "$*" in *describe-alarms*) echo production-shoppers-suffer ;; esac')
    done = pipeline(release, "production", **SETTINGS)
    assert done.returncode == 1
    assert "rolling production back" in done.stderr
    assert images_of(release) == [DIGEST, BEFORE]


def test_production_goes_back_when_its_alarms_cannot_be_read(release: Path) -> None:
    aws_of(release, 'case "$*" in *describe-alarms*) exit 255 ;; esac')
    assert pipeline(release, "production", **SETTINGS).returncode == 1
    assert images_of(release) == [DIGEST, BEFORE]


def test_nothing_is_deployed_when_the_image_before_cannot_be_noted(release: Path) -> None:
    stand_in(release / "bin/aws", 'echo "aws $*" >> "$CALLS"', "exit 255")
    assert pipeline(release, "production", **SETTINGS).returncode != 0
    assert images_of(release) == []


def test_a_release_on_kubernetes_goes_back_by_helm(release: Path) -> None:
    stand_in(release / "bin/promtool", 'echo "ALERTS{alertname=\\"CheckoutFailing\\"} => 1"')
    done = pipeline(release, "production", TARGET="kubernetes", PROMETHEUS_URL="http://prometheus", **SETTINGS)
    assert done.returncode == 1
    assert "helm rollback shop --namespace production" in (release / "calls").read_text()


def test_only_paths_that_changed_are_invalidated(release: Path) -> None:
    def git(*words: str) -> None:
        person = ("-c", "user.name=a", "-c", "user.email=a@shop.example", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *person, *words], cwd=release, check=True, capture_output=True)

    git("init", "--quiet")
    git("commit", "--allow-empty", "--quiet", "-m", "one")
    for name in ("static/app/main.js", "gateway/api/routes.py", "gateway/server.py"):
        (release / name).parent.mkdir(parents=True, exist_ok=True)
        (release / name).write_text("changed")
    git("add", "static", "gateway")
    git("commit", "--quiet", "-m", "two")
    assert pipeline(release, "paths", "HEAD~1").stdout.split() == ["/docs*", "/problems/*", "/static/app/main.js"]


@contextmanager
def shop(*, failing_every: int = 0) -> Iterator[str]:
    """The address of a shop with one product, where every so-manieth request fails."""
    count = iter(range(1, 1_000_000))

    class Shop(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status = 503 if failing_every and next(count) % failing_every == 0 else 200
            body = json.dumps({"id": "c1", "products": [{"sku": "TEA"}]}).encode()
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815 - names of http.server

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def gate(deploy: Path, url: str, folder: Path, last: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    if last is not None:
        (folder / "last.json").write_text(json.dumps(last))
    words = [
        "--rate",
        "40",
        "--seconds",
        "2",
        "--figures",
        str(folder / "load.json"),
        "--last",
        str(folder / "last.json"),
    ]
    return subprocess.run(
        [sys.executable, deploy / "load-gate", url, *words], capture_output=True, text=True, check=False
    )


def test_the_first_release_passes_the_gate_and_its_figures_are_written(deploy: Path, tmp_path: Path) -> None:
    with shop() as url:
        done = gate(deploy, url, tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "load.json").read_text())
    assert figures["requests"] == 80
    assert figures["failed"] == 0
    assert figures["p99_ms"] >= figures["p50_ms"] > 0


def test_failed_requests_and_a_slower_release_do_not_pass_the_gate(deploy: Path, tmp_path: Path) -> None:
    with shop(failing_every=10) as url:
        assert "requests failed; the first: " in gate(deploy, url, tmp_path).stderr
    with shop() as url:
        # No machine is that fast: the bound lies below zero.
        slower = gate(deploy, url, tmp_path, {"rate": 40.0, "p99_ms": -100.0})
    assert slower.returncode == 1
    assert "and -100.0 ms at the last release" in slower.stderr


def test_figures_of_another_rate_are_not_compared(deploy: Path, tmp_path: Path) -> None:
    with shop() as url:
        assert gate(deploy, url, tmp_path, {"rate": 10.0, "p99_ms": -100.0}).returncode == 0
