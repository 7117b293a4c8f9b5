"""Route patterns of policies: `POST /v1/checkout`, `/v1/carts*`, `*`."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence


def applies(patterns: Sequence[str], method: str, path: str) -> bool:
    """Whether one of the patterns matches the route of `method` and `path` (as in the route table)."""
    return any(fnmatch.fnmatchcase(f"{method} {path}" if " " in each else path, each) for each in patterns)
