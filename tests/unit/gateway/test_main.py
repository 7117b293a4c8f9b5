"""The program ends quietly when it is interrupted, whatever it does then."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

import pytest

from gateway import __main__
from gateway.cli import main as command_line


class Interrupting(MetaPathFinder):
    """Ctrl-C while the command line is imported."""

    def find_spec(self, fullname: str, *_args: Any) -> ModuleSpec | None:
        if fullname == "gateway.cli.main":
            raise KeyboardInterrupt
        return None


def test_an_interrupt_while_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gateway.cli.main")
    monkeypatch.delattr("gateway.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    assert __main__.main() == 130


def test_an_interrupt_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "main", interrupt)
    assert __main__.main() == 130
