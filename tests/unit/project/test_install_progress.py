"""`make run` shows what it installs: a line for each package, and the errors of pip."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy" / "install-progress.awk"
DOWNLOADED = """\
Ignoring async-timeout: markers 'python_full_version < "3.11.3"' don't match your environment
Collecting aiohttp==3.14.5 (from -r requirements/run.txt (line 4))
  Downloading aiohttp-3.14.5-cp311-cp311-manylinux2014_x86_64.whl.metadata (6.1 kB)
Downloading aiohttp-3.14.5-cp311-cp311-manylinux2014_x86_64.whl (1.9 MB)
Requirement already satisfied: setuptools==84.2.1 in ./.venv/lib (from -r requirements/build.txt (line 1))
Collecting idna==3.20 (from -r requirements/run.txt (line 90))
  Using cached idna-3.20-py3-none-any.whl (71 kB)
Installing collected packages: idna, aiohttp
Successfully installed aiohttp-3.14.5 idna-3.20
"""


def shown(output: str) -> list[str]:
    return subprocess.run(
        ["awk", "-v", "of=4", "-f", str(SCRIPT)], input=output, capture_output=True, text=True, check=True
    ).stdout.splitlines()


pytestmark = pytest.mark.skipif(shutil.which("awk") is None, reason="awk is not installed")


def test_each_package_has_a_line_with_its_size() -> None:
    assert shown(DOWNLOADED) == ["  [ 2/4] aiohttp (1.9 MB)", "  [ 4/4] idna (71 kB)", "  unpacking"]


def test_errors_are_shown_as_they_are() -> None:
    error = "ERROR: No matching distribution found for aiohttp==3.14.5"
    assert shown(f"Collecting aiohttp==3.14.5\n{error}\n") == ["  [ 1/4] aiohttp", error]
