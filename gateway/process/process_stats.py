"""Statistics of a worker process: connections, memory, CPU time."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.metrics import Metric, Sample

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Server(Protocol):
    """The server, as far as its statistics are concerned."""

    is_draining: bool

    @property
    def connections(self) -> Sized:
        """The open connections."""
        ...


class ProcessStats:
    """Snapshot and metrics of the current process."""

    def __init__(self, server: Server, *, now: Callable[[], float] = time.time) -> None:
        self._server = server
        self._started_at = now()

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {
            "process": os.getpid(),
            "started_at": self._started_at,
            "draining": self._server.is_draining,
            "connections": len(self._server.connections),
            "memory_bytes": _resident_bytes(),
            "cpu_s": _cpu_s(),
        }

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield _gauge("peakgate_connections", "Connections that are open.", len(self._server.connections))
        yield _gauge("peakgate_memory_bytes", "Resident memory of the process.", _resident_bytes())
        yield _gauge("peakgate_start_time_seconds", "When the process started, in Unix seconds.", self._started_at)
        yield Metric("peakgate_cpu_seconds_total", "CPU time of the process.", "counter", [Sample({}, _cpu_s())])


def _gauge(name: str, description: str, value: float) -> Metric:
    return Metric(name, description, "gauge", [Sample({}, float(value))])


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except FileNotFoundError:
        # Not Linux: the peak, in KiB on most systems.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
