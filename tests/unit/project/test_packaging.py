"""What an installed Peakgate needs beside its modules is listed, and the version stands in one place."""

import fnmatch
import re
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGES = ("gateway", "cart", "checkout", "store", "primitives", "benchmarks")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_data_file_of_a_package_is_shipped() -> None:
    patterns = [pattern.removeprefix("**/") for pattern in PROJECT["tool"]["setuptools"]["package-data"]["*"]]
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    left_behind = [
        str(path.relative_to(ROOT))
        for path in files
        if path.suffix not in {".py", ".pyc"}
        and ROOT / "benchmarks" / "results" not in path.parents
        and not any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)
    ]
    assert left_behind == []


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


def test_what_is_tested_is_what_runs() -> None:
    run, dev = (
        set(
            re.findall(
                r"^(\S+==[^\s;]+)", (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8"), re.MULTILINE
            )
        )
        for name in ("run", "dev")
    )
    assert run <= dev
