"""How a process ended, in words."""

from __future__ import annotations

import signal


def exit_text(code: int) -> str:
    """The end of a sentence about a process with this exit code, negative for the signal that killed it."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
