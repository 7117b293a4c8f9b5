"""What adding a line costs the store, for an empty cart and for a long one."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, number
from benchmarks.gateway_process import LONG_CART, Api, GatewayProcess, HarnessError
from benchmarks.processes import cpu_seconds

_ADDS_PER_CART = 20


@dataclass(frozen=True, slots=True)
class RedisCosts:
    """CPU microseconds of the store for adding a line: of the script alone, and of its whole process.

    The calls go one by one over one connection, each cart's additions in a row, as one shopper makes them.
    """

    script_us_empty: float
    script_us_long: float
    process_us_empty: float
    process_us_long: float

    @classmethod
    def measure(cls, gateway: GatewayProcess, calls: int) -> "RedisCosts":
        """Add a new line to that many empty carts, and as many to carts of 675 lines."""
        api = Api(gateway.port)
        skus = api.skus(LONG_CART + _ADDS_PER_CART)
        empty = [api.cart_of([]) for _ in range(calls)]
        long = [api.cart_of(skus[:LONG_CART]) for _ in range(max(1, calls // _ADDS_PER_CART))]
        script_empty, process_empty = _redis_cost(gateway, api, [(cart_id, skus[0]) for cart_id in empty])
        additions = [(cart_id, sku) for cart_id in long for sku in skus[LONG_CART:]]
        script_long, process_long = _redis_cost(gateway, api, additions)
        return cls(script_empty, script_long, process_empty, process_long)

    def figures(self) -> list[Figure]:
        """The ratio that has a target, and the process's CPU time beside it."""
        name = f"add a line to a cart of {LONG_CART}: Redis CPU to an empty cart's"
        script_note = f"{number(self.script_us_long)} and {number(self.script_us_empty)} µs a script call"
        process_note = f"{number(self.process_us_long)} and {number(self.process_us_empty)} µs of the server process"
        process_ratio = self.process_us_long / self.process_us_empty
        return [
            Figure(name, self.script_us_long / self.script_us_empty, "ratio", 2, script_note),
            Figure(f"{name}, socket and append-only file included", process_ratio, "ratio", None, process_note),
        ]


def _redis_cost(gateway: GatewayProcess, api: Api, additions: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """Microseconds of script and of process for each of the (cart, SKU) additions."""
    gateway.store.config_resetstat()
    store_pid = gateway.store_pid
    before_s = cpu_seconds(store_pid)
    for cart_id, sku in additions:
        api.call("POST", f"/v1/carts/{cart_id}/lines", {"sku": sku, "quantity": 1})
    process_us = (cpu_seconds(store_pid) - before_s) * 1e6 / len(additions)
    scripts = gateway.store.info("commandstats").get("cmdstat_evalsha", {"calls": 0, "usec": 0})
    if scripts["calls"] < len(additions):
        raise HarnessError(f"{len(additions)} additions ran only {scripts['calls']} scripts; measure them otherwise")
    return scripts["usec"] / scripts["calls"], process_us
