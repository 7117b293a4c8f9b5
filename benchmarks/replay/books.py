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
    words = [sys.executable, "-m", "gateway", "audit", "--rate", str(_RATE), *where]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    return (done.stdout + done.stderr).strip() if done.returncode else ""
