"""The replay audits the books with its own program, packed into one file or not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.replay.books import audit_findings


def test_books_that_cannot_be_read_are_a_finding() -> None:
    assert "peakgate:" in audit_findings("--store-url", "redis://127.0.0.1:1")


def test_a_packed_program_is_called_without_the_name_of_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "peakgate"
    program.write_text('#!/bin/sh\necho "$@"\nexit 1\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(program))
    assert audit_findings("--data-dir", "data") == "audit --rate 100000 --data-dir data"
