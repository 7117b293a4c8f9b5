"""Prometheus' own checker, which Debian has in the package `prometheus`."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it. Where it is missing the test is skipped, but in CI, which installs it."""
    if shutil.which("promtool") is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is missing; Debian has it in the package prometheus")
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=600, check=False)
