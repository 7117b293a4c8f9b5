"""The books of a gateway at the end of a run."""

from collections.abc import Iterable

from benchmarks.harness.gateway_process import GatewayProcess, HarnessError
from benchmarks.replay.books import audit_findings
from cart.model import Sku
from cart.sku_keys import product_key


def check_books(gateway: GatewayProcess, *, store_url: str | None = None) -> None:
    """Audit all orders, stock and money of the gateway, whose store may be another. Raises HarnessError with the findings."""
    where = ("--data-dir", str(gateway.data_dir)) if store_url is None else ("--store-url", store_url)
    if found := audit_findings(*where):
        raise HarnessError(f"the audit at the end failed: {found}")


def stock_up(gateway: GatewayProcess, skus: Iterable[Sku], units: int) -> None:
    """Have so many units of products for sale that nobody has ordered, as if they had been imported so."""
    pipeline = gateway.store.pipeline()
    for sku in skus:
        pipeline.hset(product_key(sku), mapping={"stock": units, "imported": units})
    pipeline.execute()
