from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.build import MODE, VERSION, StaleBuild, check_build
from gateway.http import message


def test_the_mode_is_that_of_the_hot_modules() -> None:
    assert ("interpreted" if str(message.__file__).endswith(".py") else "compiled") == MODE
    assert VERSION


def a_tree(root: Path, *, source_at: int, compiled_at: int) -> Path:
    (root / "pyproject.toml").touch()
    (root / "store").mkdir()
    source = root / "store" / "client.py"
    source.touch()
    compiled = root / "store" / "client.cpython-311-x86_64-linux-gnu.so"
    compiled.touch()
    os.utime(source, (source_at, source_at))
    os.utime(compiled, (compiled_at, compiled_at))
    return source


def test_a_compiled_module_older_than_its_source_is_refused(tmp_path: Path) -> None:
    source = a_tree(tmp_path, source_at=2, compiled_at=1)
    with pytest.raises(StaleBuild, match="make compiled") as refused:
        check_build(tmp_path)
    assert str(source) in str(refused.value)


def test_a_fresh_compiled_module_is_fine(tmp_path: Path) -> None:
    a_tree(tmp_path, source_at=1, compiled_at=2)
    check_build(tmp_path)


def test_an_installed_package_has_no_sources_to_compare(tmp_path: Path) -> None:
    a_tree(tmp_path, source_at=2, compiled_at=1)
    (tmp_path / "pyproject.toml").unlink()
    check_build(tmp_path)
