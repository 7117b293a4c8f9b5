"""Orders under kills of workers: how many end, how many need a person, and whether money and stock agree.

`python -m benchmarks.scenarios.worker_kills [--quick]` starts the gateway with two workers, and places orders whose payments are
approved, slow, declined, or never answered, while workers are killed (SIGKILL) one after the other. It counts, so a busy machine changes
only how long it takes.
"""

import argparse
import http.client
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final

from benchmarks.harness.books import check_books
from benchmarks.harness.command import exit_code_of
from benchmarks.harness.gateway_process import Api, GatewayProcess, HarnessError, serving
from benchmarks.harness.progress import show_steps
from benchmarks.harness.results import Result, results_table, write_results
from benchmarks.replay.order_states import ENDED
from cart.model import OrderId
from checkout.stored import ALL_PARTITIONS, attention_key

# In these shares.
TOKENS: Final = (*["tok_ok"] * 14, *["tok_slow"] * 3, *["tok_declined"] * 2, "tok_timeout")
# Such an order may end in this way only; a payment without a response may need a person.
ENDS: Final[Mapping[str, frozenset[str]]] = {
    "tok_ok": frozenset({"completed"}),
    "tok_slow": frozenset({"completed"}),
    "tok_declined": frozenset({"cancelled"}),
    "tok_timeout": frozenset({"cancelled", "attention"}),
}
ORDER_PATIENCE_S: Final = 20
END_WITHIN_S: Final = 300.0
_PLACE_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of each order by id, None for one that has none; `took_s` from the last kill to the last end."""

    tokens: Mapping[OrderId, str]
    ends: Mapping[OrderId, str | None]
    stock_taken: int
    took_s: float

    def count(self, end: str | None) -> int:
        """The orders with this end."""
        return sum(each == end for each in self.ends.values())

    def wrong(self) -> int:
        """The orders with an end that their payment does not allow."""
        return sum(end is not None and end not in ENDS[self.tokens[order_id]] for order_id, end in self.ends.items())


def main() -> int:
    """Entry point of `make bench-worker-kills`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.worker_kills", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="40 orders and 5 kills, results not written")
    parser.add_argument("--orders", type=int, help="orders (default: 300)")
    parser.add_argument("--kills", type=int, help="kills of workers (default: 20)")
    args = parser.parse_args()
    orders, kills = args.orders or (40 if args.quick else 300), args.kills or (5 if args.quick else 20)
    return exit_code_of("worker_kills", lambda: measure(orders=orders, kills=kills, keep=not args.quick))


def measure(*, orders: int, kills: int, keep: bool) -> list[Result]:
    """Measure, print the results and, if wanted, write results/worker_kills.json."""
    with serving("--workers", "2", "--order-patience", str(ORDER_PATIENCE_S)) as gateway:
        outcome = _run(gateway, orders, kills)
        check_books(gateway)
    results = results_of(outcome)
    print(results_table(results))
    if keep:
        settings = {"orders": orders, "kills": kills, "order_patience_s": ORDER_PATIENCE_S}
        by_token = Counter(f"{token} {outcome.ends[order_id]}" for order_id, token in outcome.tokens.items())
        print(
            f"\nwritten to {write_results('worker_kills', settings, {'ends': dict(sorted(by_token.items()))}, results)}"
        )
    return results


def results_of(outcome: Outcome) -> list[Result]:
    """The counts, those with targets first."""
    unsettled = outcome.stock_taken - outcome.count("completed") - outcome.count("attention")
    return [
        Result("orders without an end", outcome.count(None), "", 0),
        Result("orders with a wrong end", outcome.wrong(), "", 0),
        Result("units of stock taken without an order that has them", abs(unsettled), "", 0),
        Result("orders completed", outcome.count("completed"), ""),
        Result("orders cancelled", outcome.count("cancelled"), ""),
        Result("orders that need attention", outcome.count("attention"), ""),
        Result("from the last kill to the last end", outcome.took_s, "s"),
    ]


def _run(gateway: GatewayProcess, orders: int, kills: int) -> Outcome:
    tokens = list(islice(cycle(TOKENS), orders))
    random.Random(1).shuffle(tokens)
    with Api(gateway.port) as api:
        products = api.call("GET", "/v1/products?limit=100")["products"]
        sku, stock_before = max(((str(each["sku"]), int(each["stock"])) for each in products), key=lambda pair: pair[1])
        if stock_before < orders:
            raise HarnessError(f"the shop has {stock_before} units of a product, the measurement needs {orders}")
    placed: dict[OrderId, str] = {}
    killed, last_kill_at = 0, time.monotonic()
    with show_steps(orders) as step:
        for number, token in enumerate(tokens):
            placed[_place(gateway, sku, number, token)] = token
            while killed * orders < kills * (number + 1):
                _kill_a_worker(gateway, killed)
                killed, last_kill_at = killed + 1, time.monotonic()
            step(f"{number + 1} of {orders} orders placed, {killed} of {kills} workers killed")
    ends = _ends(gateway, list(placed))
    took_s = time.monotonic() - last_kill_at
    with Api(gateway.port) as api:
        return Outcome(placed, ends, stock_before - _stock(api, sku), took_s)


def _place(gateway: GatewayProcess, sku: str, number: int, token: str) -> OrderId:
    """Place one order as a shopper does whose connection may be lost: again, with the same key."""
    cart_id = ""
    deadline = time.monotonic() + _PLACE_WITHIN_S
    while time.monotonic() < deadline:
        try:
            with Api(gateway.port) as api:
                cart_id = cart_id or str(api.call("POST", "/v1/carts", {})["id"])
                api.call("PUT", f"/v1/carts/{cart_id}/lines/{sku}", {"quantity": 1})
                return OrderId(api.check_out(cart_id, key=f"order {number}", payment=token))
        except (OSError, http.client.HTTPException):
            time.sleep(_POLL_S)
        except HarnessError:
            # The cart may be ordered already: then the same key has the order.
            try:
                with Api(gateway.port) as api:
                    return OrderId(api.check_out(cart_id, key=f"order {number}", payment=token))
            except (OSError, http.client.HTTPException, HarnessError):
                time.sleep(_POLL_S)
    raise HarnessError(f"order {number} could not be placed within {_PLACE_WITHIN_S:g} s")


def _kill_a_worker(gateway: GatewayProcess, number: int) -> None:
    deadline = time.monotonic() + _PLACE_WITHIN_S
    while len(workers := gateway.workers()) < 2:
        if time.monotonic() > deadline:
            raise HarnessError("a worker that was killed is not started again")
        time.sleep(_POLL_S)
    os.kill(workers[number % 2], signal.SIGKILL)


def _ends(gateway: GatewayProcess, orders: list[OrderId]) -> dict[OrderId, str | None]:
    ends: dict[OrderId, str | None] = dict.fromkeys(orders)
    deadline = time.monotonic() + END_WITHIN_S
    while (left := [order_id for order_id, end in ends.items() if end is None]) and time.monotonic() < deadline:
        waiting = _needing_attention(gateway)
        try:
            with Api(gateway.port) as api:
                for order_id in left:
                    status = str(api.call("GET", f"/v1/orders/{order_id}")["status"])
                    is_over = status in ENDED
                    ends[order_id] = "attention" if order_id in waiting else status if is_over else None
        except (OSError, http.client.HTTPException, HarnessError):
            pass
        time.sleep(_POLL_S)
    return ends


def _needing_attention(gateway: GatewayProcess) -> set[str]:
    pipeline = gateway.store.pipeline(transaction=False)
    for partition in ALL_PARTITIONS:
        pipeline.hkeys(attention_key(partition))
    return {order_id.decode() for ids in pipeline.execute() for order_id in ids}


def _stock(api: Api, sku: str) -> int:
    return int(api.call("GET", f"/v1/products/{sku}")["stock"])


if __name__ == "__main__":
    sys.exit(main())
