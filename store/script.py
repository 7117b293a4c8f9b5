"""Lua scripts that live in files beside their adapter."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import PurePosixPath
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua script. Its keys must all be in one hash slot, so that it runs on a cluster as well."""

    text: str
    # That of its file, for people.
    name: str = field(default="", compare=False)
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        # EVALSHA needs SHA-1; no secret depends on it.
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)

    @classmethod
    def from_package(cls, package: str, path: str) -> Script:
        """Read the script `path` (such as `scripts/add_line.lua`) that `package` ships."""
        return cls.from_files((package, path))

    @classmethod
    def from_files(cls, *files: tuple[str, str], flags: str = "") -> Script:
        """The text of several files, each by its package and path: the first ones have functions that the last one calls.

        `flags` are those of the server for the whole, such as `allow-oom`.
        """
        texts = [resources.files(package).joinpath(path).read_text(encoding="utf-8") for package, path in files]
        name = PurePosixPath(files[-1][1]).stem
        return cls("\n".join([f"#!lua flags={flags}", *texts] if flags else texts), name)


# Runs one command that finishes accepted work, also while the memory of the store is full.
FINISH: Final = Script.from_package("store", "scripts/finish.lua")
