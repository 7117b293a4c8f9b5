"""A worker knows nothing of OpenTelemetry."""

from __future__ import annotations

import subprocess
import sys


def test_a_worker_imports_nothing_of_opentelemetry() -> None:
    program = (
        "import sys, gateway.process.worker, gateway.compose.worker\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
