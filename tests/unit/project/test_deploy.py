"""The files in deploy/ use settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.settings import OPTIONS, PREFIX

DEPLOY = Path(__file__).parents[3] / "deploy"
VARIABLE = re.compile(rf"\b{PREFIX}([A-Z][A-Z_]*[A-Z])\b")


def test_every_variable_is_a_setting() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}]
    named = {name.lower(): path for path in files for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}
    # The compiled build, the image of compose.yaml, the cache of the one file, and the path of the configuration file.
    others = {"compile", "image", "cache_dir", "config"}
    assert len(named) > 5
    assert {name: str(path) for name, path in named.items() if name not in OPTIONS and name not in others} == {}
