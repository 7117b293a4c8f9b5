"""The private folder of a running gateway: what its processes leave for each other, and the sockets they talk over.

It lives from start to stop and holds nothing that must survive it.
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

# Unix sockets have paths of up to 107 bytes; a worker's name and `.sock` take up to 16.
_LONGEST: Final = 90
# The service of the supervisor that is no worker.
CONTROL: Final = "control"
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
class Console:
    """What the control process is told by the settings."""

    # The file that a reload reads, and its text at the start.
    config_path: Path
    started_with: str
    token: str = field(repr=False)
    expose_metrics: bool = False


class RuntimeDirectory:
    """One folder, known by its path in every process. Everything in it is replaced whole: no reader sees half of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def socket_of(self, worker: str) -> Path:
        """Where a worker takes commands."""
        return self.path / f"{worker}.sock"

    def remove(self) -> None:
        """Take it away with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    # The configuration in force: workers start with it, whatever has become of the user's file.

    @property
    def policies(self) -> str:
        """Its text."""
        return (self.path / "policies.toml").read_bytes().decode()

    @policies.setter
    def policies(self, text: str) -> None:
        self._write("policies.toml", text.encode())

    # What the parent tells of its children

    @property
    def children(self) -> Sequence[ChildState]:
        """All children that live."""
        return self._read("children.json", list[ChildState], [])

    @children.setter
    def children(self, states: Sequence[ChildState]) -> None:
        self._write("children.json", msgspec.json.encode(states))

    # What the control process must remember when it is started again

    @property
    def turned(self) -> Mapping[str, Mapping[str, Any]]:
        """Switches that were turned by hand: `{name: {"on", "percent"}}`."""
        return self._read("switches.json", dict[str, dict[str, Any]], {})

    @turned.setter
    def turned(self, switches: Mapping[str, Mapping[str, Any]]) -> None:
        self._write("switches.json", msgspec.json.encode(switches))

    @property
    def reloads(self) -> Mapping[str, Any]:
        """How the reloads went; empty before the first."""
        return self._read("reloads.json", dict[str, Any], {})

    @reloads.setter
    def reloads(self, told: Mapping[str, Any]) -> None:
        self._write("reloads.json", msgspec.json.encode(told))

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
    """Make the folder, for this user alone, and remove it in the end. Raises `OSError`."""
    path = tempfile.mkdtemp(prefix="peakgate-")
    if len(os.fsencode(path)) > _LONGEST:
        Path(path).rmdir()
        path = tempfile.mkdtemp(prefix="peakgate-", dir="/tmp")
    runtime = RuntimeDirectory(Path(path))
    try:
        yield runtime
    finally:
        runtime.remove()
