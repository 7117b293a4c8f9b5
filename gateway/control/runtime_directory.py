"""The private folder of a running gateway: control sockets, and state that its processes share.

It exists from start to stop and holds nothing that must survive a restart.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from gateway.control.manual_setting import Kind, ManualSetting

# Unix sockets have paths of up to 107 bytes; a worker's name and `.sock` take up to 16.
_LONGEST: Final = 90
# The service of the supervisor that is the control process.
CONTROL: Final = "control"
# Configurations that were active: the start of their files' names, and how many are stored.
_PREVIOUS: Final = "previous-"
_MOST_PREVIOUS: Final = 8
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ChildState:
    """A child as the parent knows it; `started_at` in Unix seconds, `restarts` of its slot since the start."""

    service: str
    name: str
    pid: int
    state: Literal["starting", "ready", "stopping"]
    started_at: float
    restarts: int


@dataclass(frozen=True)
class ControlSettings:
    """The settings of the control process."""

    # The file that a reload reads, and its text at the start.
    config_path: Path
    started_with: str
    token: str = field(repr=False)
    expose_metrics: bool = False
    # Whether metrics are written for CloudWatch, and the role that is their dimension.
    emf: bool = False
    role: str = "all"
    metrics_token: str = field(default="", repr=False)
    viewer_token: str = field(default="", repr=False)
    # The file of the audit log; None where there is no admin API.
    audit_log: Path | None = None
    # The file of the OpenID Connect issuer that operators sign in with.
    oidc_file: Path | None = None
    # The collector of traces; None where none are recorded. It may hold a password.
    otlp_endpoint: str | None = field(default=None, repr=False)


class RuntimeDirectory:
    """The folder, known by its path in every process. Files are replaced whole, so no reader sees half of one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def socket_of(self, worker: str) -> Path:
        """The path of a worker's control socket."""
        return self.path / f"{worker}.sock"

    @property
    def store_outage(self) -> Path:
        """The folder of `SharedOutage` for the store."""
        return self.path / "store-outage"

    def leave_traces(self, worker: str, traces: bytes) -> None:
        """Leave the last traces of a worker, which ends, as JSON."""
        self._write(f"{worker}.traces", traces)

    def take_left_traces(self) -> Sequence[bytes]:
        """The traces that ended workers have left; they are removed."""
        taken = []
        for path in self.path.glob("*.traces"):
            taken.append(path.read_bytes())
            path.unlink()
        return taken

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    # The active configuration: workers start with it, also where the operator's file has changed since.

    @property
    def policies(self) -> str:
        """The text of the active configuration."""
        return (self.path / "policies.toml").read_bytes().decode()

    @policies.setter
    def policies(self, text: str) -> None:
        self._write("policies.toml", text.encode())

    # Published by the supervisor

    @property
    def children(self) -> Sequence[ChildState]:
        """All running children."""
        return self._read("children.json", list[ChildState], [])

    @children.setter
    def children(self, states: Sequence[ChildState]) -> None:
        self._write("children.json", msgspec.json.encode(states))

    # State of the control process that survives its restart

    @property
    def manual_settings(self) -> Mapping[Kind, Mapping[str, ManualSetting]]:
        """The settings that operators made by hand, by kind and name."""
        return self._read("manual.json", dict[Kind, dict[str, ManualSetting]], {})

    @manual_settings.setter
    def manual_settings(self, settings: Mapping[Kind, Mapping[str, ManualSetting]]) -> None:
        self._write("manual.json", msgspec.json.encode(settings))

    @property
    def switch_overrides(self) -> Mapping[str, Mapping[str, Any]]:
        """The operator's overrides of switches: `{name: {"enabled", "percent"}}`."""
        return {name: setting.values for name, setting in self.manual_settings.get("switch", {}).items()}

    def keep_policies(self, digest: str, text: str) -> None:
        """Store a configuration that was active, so that a reload can be undone; the latest few are stored."""
        self._write(f"{_PREVIOUS}{digest}.toml", text.encode())
        stored = sorted(self.path.glob(f"{_PREVIOUS}*.toml"), key=lambda path: path.stat().st_mtime_ns)
        for path in stored[:-_MOST_PREVIOUS]:
            path.unlink()

    def previous_policies(self, digest: str) -> str | None:
        """The text of a configuration that was active; None if it is not stored."""
        try:
            return (self.path / f"{_PREVIOUS}{digest}.toml").read_bytes().decode()
        except FileNotFoundError:
            return None

    @property
    def reloads(self) -> Mapping[str, Any]:
        """The outcomes of reloads; empty before the first."""
        return self._read("reloads.json", dict[str, Any], {})

    @reloads.setter
    def reloads(self, outcomes: Mapping[str, Any]) -> None:
        self._write("reloads.json", msgspec.json.encode(outcomes))

    def _read(self, name: str, kind: type[T], missing: T) -> T:
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=kind)
        except FileNotFoundError:
            return missing

    def _write(self, name: str, content: bytes) -> None:
        scratch = self.path / f".{name}.{os.getpid()}"
        scratch.write_bytes(content)
        scratch.replace(self.path / name)


@contextmanager
def runtime_directory() -> Iterator[RuntimeDirectory]:
    """Create the folder, readable by this user alone, and remove it at the end. Raises `OSError`."""
    path = tempfile.mkdtemp(prefix="peakgate-")
    if len(os.fsencode(path)) > _LONGEST:
        Path(path).rmdir()
        path = tempfile.mkdtemp(prefix="peakgate-", dir="/tmp")
    runtime = RuntimeDirectory(Path(path))
    try:
        yield runtime
    finally:
        runtime.remove()
