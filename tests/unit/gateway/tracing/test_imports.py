"""A worker makes no spans of OpenTelemetry, and does not load their exporter."""

from __future__ import annotations

import subprocess
import sys


def test_a_worker_loads_neither_spans_nor_exporter_of_opentelemetry() -> None:
    # redis-py loads the SDK's metrics by itself where they are installed.
    program = (
        "import sys, gateway.process.worker, gateway.compose.worker\n"
        "loaded = ('opentelemetry.exporter', 'opentelemetry.sdk.trace', 'gateway.admin.otlp')\n"
        "print(sorted(name for name in sys.modules if name.startswith(loaded)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
