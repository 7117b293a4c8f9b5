"""The audit at the end of a run."""

import os
import subprocess
import sys

# Nothing else runs by then.
_RATE = 100_000


def audit_findings(*where: str) -> str:
    """The output of an audit of the books at `where`, the options that name a store; empty if they agree.

    An audit that could not be made is an output too: a run whose books were not read has not passed.
    """
    # Settings come from the options only, not from variables of the shell.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PEAKGATE_")}
    done = subprocess.run(
        [*_program(), "audit", "--rate", str(_RATE), *where],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    return (done.stdout + done.stderr).strip() if done.returncode else ""


def _program() -> list[str]:
    """The command of this program: that of the interpreter, or the packed program itself, which is its interpreter."""
    return [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "gateway"]
