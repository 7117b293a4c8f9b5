"""CPU time of the store for an added line, to an empty cart and to a long one."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from benchmarks.harness.gateway_process import LONG_CART, Api, GatewayProcess, HarnessError
from benchmarks.harness.results import Result, number

# New lines for each long cart.
_ADDS_PER_CART = 20


class Addition(NamedTuple):
    """A line that is added to a cart."""

    cart_id: str
    sku: str


class RedisCost(NamedTuple):
    """Microseconds of the store per addition: in the script (by commandstats), and of its whole process."""

    script_us: float
    process_us: float


@dataclass(frozen=True, slots=True)
class RedisCosts:
    """The cost of an added line: to an empty cart, to a long one, and to a long one that the gateway has not cached."""

    empty: RedisCost
    long: RedisCost
    long_forgotten: RedisCost

    @classmethod
    def measure(cls, gateway: GatewayProcess, calls: int) -> "RedisCosts":
        """Add as many new lines to empty carts as to carts of 675 lines.

        One after the other over one connection, a few of each kind in turn. The median of the turns is taken, because the
        script's time is wall-clock time and other programs may use the core.
        """
        api = Api(gateway.port)
        skus = api.skus(LONG_CART + _ADDS_PER_CART)
        turns = calls // _ADDS_PER_CART
        costs: list[list[RedisCost | None]] = [[], [], []]
        for _ in range(turns):
            empty = [Addition(api.cart_of([]), skus[0]) for _ in range(_ADDS_PER_CART)]
            costs[0].append(_cost(gateway, api, empty))
            long_cart = api.cart_of(skus[:LONG_CART])
            in_a_row = [Addition(long_cart, sku) for sku in skus[LONG_CART:]]
            costs[1].append(_cost(gateway, api, in_a_row))
        # More long carts in turn than the gateway caches.
        many = [api.cart_of(skus[:LONG_CART]) for _ in range(100)]
        additions = [Addition(cart_id, sku) for sku in skus[LONG_CART:][: max(1, turns // 5)] for cart_id in many]
        # A few at a time, so that most are measured between two scripts of background tasks.
        starts = range(0, len(additions), _ADDS_PER_CART)
        costs[2] = [_cost(gateway, api, additions[start : start + _ADDS_PER_CART]) for start in starts]
        return cls(*(_median(each) for each in costs))

    def results(self) -> list[Result]:
        """The ratio that has a target, and the two that explain it."""
        name = f"add a line to a cart of {LONG_CART}: Redis CPU to an empty cart's"
        return [
            Result(
                f"{name}, script", self.long.script_us / self.empty.script_us, "ratio", 2, _note(self.long, self.empty)
            ),
            Result(f"{name}, whole process", self.long.process_us / self.empty.process_us, "ratio"),
            Result(f"{name}, script, cart not cached", self.long_forgotten.script_us / self.empty.script_us, "ratio"),
        ]


def _cost(gateway: GatewayProcess, api: Api, additions: Sequence[Addition]) -> RedisCost | None:
    """None if another script ran meanwhile, such as that of a lease: its cost cannot be separated."""
    gateway.store.config_resetstat()
    before_us = _cpu_us(gateway)
    for addition in additions:
        api.call("POST", f"/v1/carts/{addition.cart_id}/lines", {"sku": addition.sku, "quantity": 1})
    process_us = _cpu_us(gateway) - before_us
    scripts = gateway.store.info("commandstats").get("cmdstat_evalsha", {"calls": 0, "usec": 0})
    if scripts["calls"] != len(additions):
        return None
    return RedisCost(scripts["usec"] / len(additions), process_us / len(additions))


def _cpu_us(gateway: GatewayProcess) -> float:
    cpu = gateway.store.info("cpu")
    return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"]) * 1e6


def _median(measured: Sequence[RedisCost | None]) -> RedisCost:
    costs = [cost for cost in measured if cost is not None]
    if not costs:
        raise HarnessError("other scripts ran beside all additions: their cost cannot be separated")
    return RedisCost(median(cost.script_us for cost in costs), median(cost.process_us for cost in costs))


def _note(long: RedisCost, empty: RedisCost) -> str:
    scripts = f"{number(long.script_us)} to {number(empty.script_us)} µs a script call"
    return f"{scripts}, {number(long.process_us)} to {number(empty.process_us)} µs of the process"
