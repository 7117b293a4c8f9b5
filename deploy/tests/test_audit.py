"""`make audit` finds a vulnerable package and a secret, and does not call unknown what is clean, or clean what is unknown."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from programs import program

audit = program("dist/audit")

CLEAN = {"name": "aiohttp", "version": "3.14.5", "vulns": []}
VULNERABLE = {"name": "old", "version": "1", "vulns": [{"id": "CVE-2026-1", "fix_versions": ["2"]}]}
UNKNOWN = {"name": "new", "skip_reason": "Dependency not found on PyPI and could not be audited: new (1)"}


def told(*packages: object) -> str:
    return json.dumps({"dependencies": list(packages), "fixes": []})


@pytest.mark.parametrize(
    ("packages", "vulnerable", "unknown"),
    [
        ((CLEAN,), False, False),
        ((CLEAN, VULNERABLE), True, False),
        ((CLEAN, UNKNOWN), False, True),
        ((VULNERABLE, UNKNOWN), True, True),
    ],
    ids=["clean", "vulnerable", "unknown", "both"],
)
def test_each_package_is_clean_vulnerable_or_unknown(
    packages: tuple[object, ...], vulnerable: bool, unknown: bool
) -> None:
    assert audit.read_report("run.txt", told(*packages)) == (vulnerable, unknown)


def test_no_report_is_unknown_and_not_clean() -> None:
    assert audit.read_report("run.txt", "") == (False, True)


def test_a_secret_in_a_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    file.write_text("key = '" + "AKIA" + "IOSFODNN7EXAMPL3" + "'\n", encoding="utf-8")
    result = subprocess.run(
        [audit.BIN / "detect-secrets-hook", "--baseline", audit.BASELINE, str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stdout
    assert "AWS" in result.stdout
