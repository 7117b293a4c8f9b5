"""What an installed Peakgate needs beside its modules is listed, and the version stands in one place."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("gateway", "cart", "checkout", "store", "primitives", "benchmarks")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of a wheel that is built from a copy of the sources."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "docs/runbooks", source / "docs/runbooks")
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(wheels)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = wheels.iterdir()
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_every_file_of_a_package_is_shipped_and_of_the_benchmarks_the_replay_only(shipped: set[str]) -> None:
    folders = [*(ROOT / package for package in PACKAGES if package != "benchmarks"), ROOT / "benchmarks/replay"]
    files = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    files.add(ROOT / "benchmarks/__init__.py")

    runbooks = {f"gateway/admin/console/runbooks/{path.name}" for path in (ROOT / "docs/runbooks").iterdir()}
    assert shipped == {str(path.relative_to(ROOT)) for path in files if path.suffix not in {".pyc", ".so"}} | runbooks


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_the_version_is_the_one_of_the_distribution() -> None:
    version = PROJECT["project"]["version"]
    assert metadata.version("peakgate") == version
    again = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if re.search(rf'["\']{re.escape(version)}["\']', path.read_text(encoding="utf-8"))
    ]
    assert again == []


def test_the_locks_pin_each_dependency_with_hashes_and_name_no_registry() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text, lock.name
        entries = [entry for entry in re.split(r"\n(?=\S)", text.strip()) if entry]
        assert entries
        assert [entry.splitlines()[0] for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_the_tested_packages_are_the_shipped_ones() -> None:
    run, dev = (
        set(
            re.findall(
                r"^(\S+==[^\s;]+)", (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8"), re.MULTILINE
            )
        )
        for name in ("run", "dev")
    )
    assert run <= dev


def names_in(lock: str) -> set[str]:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))


def test_the_libraries_of_aws_are_an_extra_that_a_first_run_does_not_download() -> None:
    assert PROJECT["project"]["optional-dependencies"]["aws"] == ["aiobotocore>=3"]
    of_aws = {"aiobotocore", "botocore"}
    assert not of_aws & names_in("run")
    assert of_aws <= names_in("aws") & names_in("dev")
    assert names_in("run") < names_in("aws")
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "-r requirements/run.txt" not in image
    assert image.count("-r requirements/aws.txt") == 2


def test_the_libraries_of_traces_are_an_extra_too() -> None:
    of_traces = {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"}
    wanted = {re.split(r"[>=]", each)[0] for each in PROJECT["project"]["optional-dependencies"]["otel"]}
    assert wanted == of_traces
    assert not of_traces & names_in("run")
    assert of_traces <= names_in("otel") & names_in("dev")
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert image.count("-r requirements/otel.txt") == 2


def test_every_module_that_is_compiled_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    compiled = project["tool"]["peakgate"]["compiled"]
    assert [path for path in compiled if not (ROOT / path).is_file()] == []
    assert len(set(compiled)) == len(compiled)
