"""The ids of webhooks, which become the ids of facts."""

from __future__ import annotations

import re
from typing import Final

_FACT_ID: Final = re.compile(r"[\w.:-]{1,128}", re.ASCII)


def is_fact_id(text: str) -> bool:
    """Whether the id can be that of a fact: it has no space, because a stored fact follows its id after one."""
    return _FACT_ID.fullmatch(text) is not None
