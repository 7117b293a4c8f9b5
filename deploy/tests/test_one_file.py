"""The one file unpacks once, by its digest, also when many start at once, and says why where it cannot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from programs import program

build = program("dist/build")

PROGRAM = """#!/bin/sh
[ "$1" != fail ] || exit 7
[ -z "${PEAKGATE_CACHE_DIR+x}" ] || exit 64 # it is no setting of the program
echo "{name} $* with $(cat "${0%/*}/_internal/data")"
"""


def one_file(folder: Path, name: str = "peakgate") -> Path:
    """A file like the real one, around a small program."""
    packed = folder / name
    (packed / "_internal").mkdir(parents=True)
    (packed / "_internal" / "data").write_text("its data\n", encoding="utf-8")
    (packed / "peakgate").write_text(PROGRAM.replace("{name}", name), encoding="utf-8")
    (packed / "peakgate").chmod(0o755)
    file = folder / f"{name}.bin"
    build.assemble(packed, file, version="1.2.3", machine="x86_64", glibc="2.36")
    return file


def start(file: Path, cache: Path, *words: str) -> subprocess.Popen[str]:
    environment = {"PATH": os.environ["PATH"], "PEAKGATE_CACHE_DIR": str(cache)}
    return subprocess.Popen([file, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(file: Path, cache: Path, *words: str) -> tuple[int, str, str]:
    process = start(file, cache, *words)
    told, failed = process.communicate(timeout=300)
    return process.returncode, told, failed


def unpacked(cache: Path) -> list[str]:
    return sorted(each.name for each in (cache / "peakgate").iterdir())


def test_it_runs_with_its_arguments_and_data_and_gives_the_exit_status(tmp_path: Path) -> None:
    file = one_file(tmp_path)
    assert run(file, tmp_path / "cache", "serve", "two words") == (0, "peakgate serve two words with its data\n", "")
    assert run(file, tmp_path / "cache", "fail")[0] == 7


def test_it_unpacks_once(tmp_path: Path) -> None:
    file, cache = one_file(tmp_path), tmp_path / "cache"
    run(file, cache)
    (folder,) = unpacked(cache)
    mark = cache / "peakgate" / folder / "_internal" / "data"
    mark.write_text("changed data\n", encoding="utf-8")
    assert run(file, cache)[1] == "peakgate  with changed data\n"
    assert unpacked(cache) == [folder]


def test_another_version_has_a_folder_of_its_own(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for name in ("old", "new"):
        assert run(one_file(tmp_path, name), cache)[1] == f"{name}  with its data\n"
    assert len(unpacked(cache)) == 2


def test_many_that_start_at_once_all_run_and_leave_one_folder(tmp_path: Path) -> None:
    file, cache = one_file(tmp_path), tmp_path / "cache"
    running = [start(file, cache) for _ in range(12)]
    assert {process.communicate(timeout=300) for process in running} == {("peakgate  with its data\n", "")}
    assert {process.returncode for process in running} == {0}
    assert len(unpacked(cache)) == 1


def test_a_damaged_file_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    file, cache = one_file(tmp_path), tmp_path / "cache"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) - 60])
    status, told, failed = run(file, cache)
    assert (status, told) == (73, "")
    assert "this file is damaged" in failed
    assert unpacked(cache) == []
    file.write_bytes(content)
    assert run(file, cache)[0] == 0


def test_a_cache_that_cannot_be_written_is_said_with_the_way_out(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file", encoding="utf-8")
    status, _, failed = run(one_file(tmp_path), blocked)
    assert status == 73
    assert "PEAKGATE_CACHE_DIR" in failed


def test_an_interrupted_start_leaves_nothing_that_a_later_one_takes(tmp_path: Path) -> None:
    """A kill in the middle leaves a scratch folder, never half a program."""
    file, cache = one_file(tmp_path), tmp_path / "cache"
    (cache / "peakgate" / ".unpack.killed").mkdir(parents=True)
    assert run(file, cache)[0] == 0
    assert len([name for name in unpacked(cache) if not name.startswith(".")]) == 1


def test_the_file_names_the_glibc_that_it_needs(tmp_path: Path) -> None:
    (tmp_path / "library.so").write_bytes(b"\x7fELF... GLIBC_2.17 GLIBC_2.4 GLIBC_2.34")
    (tmp_path / "notes").write_bytes(b"GLIBC_9.9")
    assert build.glibc_needed(tmp_path) == "2.34"


@pytest.mark.parametrize("name", ["VERSION", "MACHINE", "GLIBC", "DIGEST", "LINES"])
def test_no_blank_is_left_in_the_script(tmp_path: Path, name: str) -> None:
    assert f"@{name}@".encode() not in one_file(tmp_path).read_bytes()
