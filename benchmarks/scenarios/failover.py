"""A failover of the store: seconds from its beginning to the first accepted order, and whether any order is lost.

`python -m benchmarks.scenarios.failover [--quick]` starts a primary with its replica behind one address, and a gateway of two
workers that knows only the address. One shopper checks out cart after cart, and repeats a refused checkout with the same key.
Then the primary hands over to its replica as planned, with the gateway's connections kept or cut, or it is killed or stops
answering, and its replica is promoted at once. Each of these has its own servers.
"""

import argparse
import contextlib
import http.client
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from benchmarks.harness.books import check_books
from benchmarks.harness.command import exit_code_of
from benchmarks.harness.forwarder import Forwarder
from benchmarks.harness.gateway_process import Api, HarnessError, checkout_of, serving
from benchmarks.harness.progress import show_steps
from benchmarks.harness.results import Result, results_table, write_results
from benchmarks.harness.store_pair import StoreServer, store_pair

ORDERS_BEFORE, ORDERS_AFTER = 20, 20
TARGET_S: Final = 5.0
PATIENCE_S: Final = 60.0
_PAUSE_S: Final = 0.02
_CATALOGUE: Final = "sku,name,price,currency,stock\nTEA,Tea,2.50,GBP,1000\n"


@dataclass(frozen=True, slots=True)
class Way:
    """One way in which a primary is replaced; `change` ends when its replica is the primary and the address leads there."""

    name: str
    change: Callable[[StoreServer, StoreServer, Forwarder], object]


@dataclass(slots=True)
class Outcome:
    """The results of the shopper since the beginning: when orders were accepted, in seconds, and all statuses."""

    accepted_s: list[float] = field(default_factory=list)
    completed_s: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    lost: int = 0


def _planned(first: StoreServer, second: StoreServer, address: Forwarder) -> None:
    first.fail_over()
    address.retarget(second.port)


def _planned_and_cut(first: StoreServer, second: StoreServer, address: Forwarder) -> None:
    _planned(first, second, address)
    address.cut()


def _killed(first: StoreServer, second: StoreServer, address: Forwarder) -> None:
    first.kill()
    second.promote()
    address.retarget(second.port)


def _hanging(first: StoreServer, second: StoreServer, address: Forwarder) -> None:
    first.signal(signal.SIGSTOP)
    second.promote()
    address.retarget(second.port)


WAYS: Final[Sequence[Way]] = (
    Way("planned, connections kept", _planned),
    Way("planned, connections cut", _planned_and_cut),
    Way("primary killed", _killed),
    Way("primary hangs", _hanging),
)


def main() -> int:
    """Entry point of `make bench-failover`; 0 when everything could be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.failover", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="each once, results not written")
    args = parser.parse_args()
    return exit_code_of("failover", lambda: measure(rounds=1 if args.quick else 3, keep=not args.quick))


def measure(*, rounds: int, keep: bool) -> list[Result]:
    """Measure, print the results and, if wanted, write results/failover.json."""
    outcomes: dict[Way, list[Outcome]] = {way: [] for way in WAYS}
    with show_steps(rounds * len(WAYS)) as step:
        for _ in range(rounds):
            for way in WAYS:
                outcomes[way].append(run(way))
                step(f"{way.name}: first order after {outcomes[way][-1].accepted_s[0]:.2f} s")
    results = [result for way in WAYS for result in results_of(way, outcomes[way])]
    print(results_table(results))
    if keep:
        rows = [_row(way, outcomes[way]) for way in WAYS]
        settings = {"rounds": rounds, "orders_before": ORDERS_BEFORE, "orders_after": ORDERS_AFTER}
        print(f"\nwritten to {write_results('failover', settings, {'ways': rows}, results)}")
    return results


def results_of(way: Way, outcomes: Sequence[Outcome]) -> list[Result]:
    """The slowest of the rounds, and the orders that were lost in all."""
    statuses = sum((outcome.statuses for outcome in outcomes), Counter[str]())
    note = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    return [
        Result(f"{way.name}: the first 202 after", max(o.accepted_s[0] for o in outcomes), "s", TARGET_S, note),
        Result(f"{way.name}: an order completed after", max(o.completed_s for o in outcomes), "s", 2 * TARGET_S),
        Result(f"{way.name}: accepted orders lost", sum(o.lost for o in outcomes), "", 0),
    ]


def run(way: Way, *, patience_s: float = PATIENCE_S) -> Outcome:
    """One change, with servers of its own; orders that are not completed within `patience_s` are lost."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peakgate-bench-")))
        first, second = stack.enter_context(store_pair(folder, "--appendonly", "yes"))
        address = stack.enter_context(Forwarder(first.port))
        url = f"redis://127.0.0.1:{address.port}"
        catalogue = folder / "catalog.csv"
        catalogue.write_text(_CATALOGUE)
        options = ("--store-url", url, "--durability", "aof", "--workers", "2")
        gateway = stack.enter_context(serving(*options, catalogue=catalogue))
        with Api(gateway.port) as api:
            carts = [api.cart_of(["TEA"]) for _ in range(ORDERS_BEFORE + ORDERS_AFTER)]
        shopper = Shopper(gateway.port, patience_s)
        for cart_id in carts[:ORDERS_BEFORE]:
            shopper.buy(cart_id)
        # A failover of an asynchronous replication may lose writes that are not replicated yet.
        first.command("WAIT", 1, 0)
        outcome = Outcome()
        shopper.begin(outcome)
        way.change(first, second, address)
        for cart_id in carts[ORDERS_BEFORE:]:
            shopper.buy(cart_id)
        shopper.await_orders(outcome)
        check_books(gateway, store_url=url)
        return outcome


class Shopper:
    """Checks out one cart after the other, each until its order is accepted."""

    def __init__(self, port: int, patience_s: float = PATIENCE_S) -> None:
        self._port = port
        self._patience_s = patience_s
        self._began = 0.0
        self._outcome: Outcome | None = None
        self._orders: list[str] = []

    def begin(self, outcome: Outcome) -> None:
        """From now on note times and statuses."""
        self._began = time.monotonic()
        self._outcome = outcome

    def buy(self, cart_id: str) -> None:
        """Check the cart out; raises `HarnessError` if its order is not accepted in time."""
        checkout = orjson.dumps(checkout_of(cart_id))
        give_up_at = time.monotonic() + self._patience_s
        while True:
            status, order = self._call("POST", "/v1/checkout", checkout, {"Idempotency-Key": cart_id})
            if self._outcome is not None:
                self._outcome.statuses[status] += 1
            if status == "202":
                self._orders.append(order["id"])
                if self._outcome is not None:
                    self._outcome.accepted_s.append(time.monotonic() - self._began)
                return
            if time.monotonic() > give_up_at:
                raise HarnessError(
                    f"no order is accepted within {self._patience_s:g} s; the last response was {status}"
                )
            time.sleep(_PAUSE_S)

    def await_orders(self, outcome: Outcome) -> None:
        """Wait until all accepted orders are completed; those that are not in time are lost."""
        give_up_at = time.monotonic() + self._patience_s
        first_after = self._orders[ORDERS_BEFORE]
        for order_id in [first_after, *self._orders]:
            while not self._is_completed(order_id) and time.monotonic() < give_up_at:
                time.sleep(_PAUSE_S)
            if order_id == first_after and not outcome.completed_s:
                outcome.completed_s = time.monotonic() - self._began
        outcome.lost = sum(not self._is_completed(order_id) for order_id in self._orders)

    def _is_completed(self, order_id: str) -> bool:
        _, order = self._call("GET", f"/v1/orders/{order_id}")
        return order.get("status") == "completed"

    def _call(
        self, method: str, path: str, body: bytes | None = None, fields: Mapping[str, str] | None = None
    ) -> tuple[str, Mapping[str, Any]]:
        """The status, or `none` without a response, and the JSON. On a connection of its own, so with any worker."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **(fields or {})})
            response = connection.getresponse()
            return str(response.status), orjson.loads(response.read())
        except (OSError, http.client.HTTPException):
            return "none", {}
        finally:
            with contextlib.suppress(OSError):
                connection.close()


def _row(way: Way, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "name": way.name,
        "first_202_s_by_round": [round(outcome.accepted_s[0], 3) for outcome in outcomes],
        "first_completed_s_by_round": [round(outcome.completed_s, 3) for outcome in outcomes],
        "statuses": dict(sum((outcome.statuses for outcome in outcomes), Counter[str]())),
    }


if __name__ == "__main__":
    sys.exit(main())
