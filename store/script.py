"""Lua scripts that live in files beside their adapter."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib import resources
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua script. Its keys must all be in one hash slot, so that it runs on a cluster as well."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        # EVALSHA needs SHA-1; no secret depends on it.
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)

    @classmethod
    def from_package(cls, package: str, path: str) -> Script:
        """Read the script `path` (such as `scripts/add_line.lua`) that `package` ships."""
        return cls(resources.files(package).joinpath(path).read_text(encoding="utf-8"))


# Runs one command that finishes accepted work, also while the memory of the store is full.
FINISH: Final = Script.from_package("store", "scripts/finish.lua")
