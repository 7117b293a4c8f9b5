"""Traces: recorded where the settings name a collector."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from gateway.prerequisites import CannotStart
from gateway.settings import Settings
from primitives.tracing.tracer import Tracer

_LIBRARIES: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def check_tracing(settings: Settings) -> None:
    """Check that the libraries of traces are installed, if they are needed. Raises `CannotStart`."""
    if settings.otlp_endpoint is None:
        return
    for name in _LIBRARIES:
        if not _is_installed(name):
            raise CannotStart(
                f"--otlp-endpoint needs the libraries of OpenTelemetry ({name} is not installed): "
                f"pip install 'peakgate[otel]', or make install-otel in a clone"
            )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a package around it
        return False


def open_tracer(settings: Settings) -> Tracer | None:
    """The tracer of a process, None where nothing is traced."""
    if settings.otlp_endpoint is None:
        return None
    return Tracer(share=settings.trace_share, slow_s=settings.trace_slow_ms / 1000)
