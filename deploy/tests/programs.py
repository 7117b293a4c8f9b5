"""Programs of deploy/ whose files have no suffix, as modules."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

DEPLOY = Path(__file__).resolve().parent.parent


def program(path: str) -> ModuleType:
    """The module of a program, named by its path below deploy/."""
    loader = importlib.machinery.SourceFileLoader(path.replace("/", "_").replace("-", "_"), str(DEPLOY / path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
