"""The books of a gateway at the end of a run."""

import subprocess
from collections.abc import Iterable

from benchmarks.harness.gateway_process import GatewayProcess, HarnessError, peakgate_command
from cart.model import Sku
from cart.sku_keys import product_key

# Nothing else runs by then.
_RATE = 100_000


def check_books(gateway: GatewayProcess) -> None:
    """Audit all orders, stock and money of the gateway. Raises HarnessError with the findings."""
    words = [*peakgate_command(), "audit", "--rate", str(_RATE), "--data-dir", str(gateway.data_dir)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"the books do not agree: {(done.stdout + done.stderr).strip()}")


def stock_up(gateway: GatewayProcess, skus: Iterable[Sku], units: int) -> None:
    """Have so many units of products for sale that nobody has ordered, as if they had been imported so."""
    pipeline = gateway.store.pipeline()
    for sku in skus:
        pipeline.hset(product_key(sku), mapping={"stock": units, "imported": units})
    pipeline.execute()
