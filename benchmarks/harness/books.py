"""The books of a gateway at the end of a run."""

import subprocess

from benchmarks.harness.gateway_process import GatewayProcess, HarnessError, peakgate_command

# Nothing else runs by then.
_RATE = 100_000


def check_books(gateway: GatewayProcess) -> None:
    """Audit all orders, stock and money of the gateway. Raises HarnessError with the findings."""
    words = [*peakgate_command(), "audit", "--rate", str(_RATE), "--data-dir", str(gateway.data_dir)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"the books do not agree: {(done.stdout + done.stderr).strip()}")
