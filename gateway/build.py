"""Which build runs: the hot modules compiled, or interpreted."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Final

from gateway.http import message

VERSION: Final = version("peakgate")
_MODULE: Final = Path(message.__file__)
MODE: Final = "interpreted" if _MODULE.suffix == ".py" else "compiled"


class StaleBuild(Exception):
    """A source is newer than its compiled module, which would run in its place."""

    def __init__(self, source: Path) -> None:
        super().__init__(
            f"{source} is newer than its compiled module: run `make compiled` again, or `make interpreted` to remove it"
        )


def check_build(root: Path = _MODULE.parents[2]) -> None:
    """In a source tree, raise `StaleBuild` if a compiled module is older than the source beside it."""
    if not (root / "pyproject.toml").exists():
        return
    for package in ("gateway", "checkout", "cart", "store", "primitives"):
        for compiled in (root / package).rglob("*.so"):
            source = compiled.with_name(f"{compiled.name.partition('.')[0]}.py")
            if source.exists() and source.stat().st_mtime > compiled.stat().st_mtime:
                raise StaleBuild(source)
