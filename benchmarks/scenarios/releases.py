"""Two releases on one store: carts, orders and messages of each are read and changed by the other.

`python -m benchmarks.scenarios.releases --earlier REVISION [--seconds 600] [--quick]`. The earlier release is that of a revision in
the history of git. Each release has an edge and a worker process; every call of a shopper goes to either edge at random, and every
30 seconds the earlier release is stopped and started again. It counts, so a busy machine changes only how many orders there are.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from benchmarks.harness.books import check_books, stock_up
from benchmarks.harness.command import exit_code_of
from benchmarks.harness.gateway_process import (
    Api,
    GatewayProcess,
    HarnessError,
    checkout_of,
    serving,
    start_child,
    stop_child,
)
from benchmarks.harness.ports import free_port
from benchmarks.harness.progress import show_steps
from benchmarks.harness.results import Result, results_table, write_results
from benchmarks.replay.order_states import ENDED
from cart.model import Sku

ROOT: Final = Path(__file__).parents[2]
READY_WITHIN_S: Final = 60.0
END_WITHIN_S: Final = 120.0
RESTART_EVERY_S: Final = 30.0
UNITS: Final = 1_000_000
_POLL_S: Final = 0.1


@dataclass
class Outcome:
    """The orders of the shoppers and the differences that they met, one line of text each."""

    orders: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    restarts: int = 0
    ends: dict[str, str] = field(default_factory=dict)

    def expect(self, what: str, found: object, expected: object) -> None:
        """Note a difference between the two releases."""
        if found != expected:
            self.differences.append(f"{what}: {found!r}, not {expected!r}")


def main() -> int:
    """Entry point of `make bench-releases`; 0 when everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.releases", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--earlier", required=True, metavar="REVISION", help="the release before, in the history of git"
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="how long both run (default: 600)")
    parser.add_argument("--quick", action="store_true", help="20 seconds, results not written")
    args = parser.parse_args()
    seconds = 20.0 if args.quick else args.seconds
    return exit_code_of("releases", lambda: measure(args.earlier, seconds=seconds, keep=not args.quick))


def measure(earlier: str, *, seconds: float, keep: bool) -> list[Result]:
    """Measure, print the results and, if wanted, write results/releases.json."""
    with ExitStack() as stack:
        sources = stack.enter_context(_sources_of(earlier))
        gateway = stack.enter_context(serving("--workers", "1", "--audit-every", "5"))
        outcome = _run(gateway, sources, seconds)
        check_books(gateway)
    results = results_of(outcome)
    print(results_table(results))
    for line in outcome.differences[:20]:
        print(line)
    if keep:
        settings = {"earlier": earlier, "seconds": seconds}
        print(
            f"\nwritten to {write_results('releases', settings, {'differences': outcome.differences[:100]}, results)}"
        )
    return results


def results_of(outcome: Outcome) -> list[Result]:
    """The counts, those with targets first."""
    ends = list(outcome.ends.values())
    return [
        Result(
            "differences between a record as written and as read by the other release", len(outcome.differences), "", 0
        ),
        Result("orders without their end", len(outcome.orders) - ends.count("completed"), "", 0),
        Result("orders completed", ends.count("completed"), ""),
        Result("restarts of the earlier release", outcome.restarts, ""),
    ]


@contextmanager
def _sources_of(revision: str) -> Iterator[Path]:
    """The sources of a revision in a folder of their own."""
    command = ["git", "-C", str(ROOT), "archive", revision]
    archived = subprocess.run(command, capture_output=True, check=False)
    if archived.returncode:
        raise HarnessError(f"git archive {revision}: {archived.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory(prefix="peakgate-release-") as folder:
        with tarfile.open(fileobj=BytesIO(archived.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


class _Earlier:
    """A gateway of the earlier release on the store of the other."""

    def __init__(self, sources: Path, beside: GatewayProcess) -> None:
        self.port = free_port()
        self._sources = sources
        self._beside = beside
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it serves. Raises HarnessError."""
        data = self._sources / "data"
        command = [sys.executable, "-P", "-m", "gateway", "serve", "--workers", "1", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--admin-port", "0", "--data-dir", str(data)]
        command += ["--store-url", f"unix://{self._beside.store_socket}"]
        command += ["--key-file", str(self._beside.data_dir / "keys.toml"), "--archive", "none"]
        with (self._sources / "serve.log").open("ab") as log:
            self._process = start_child(command, log=log, environment={"PYTHONPATH": str(self._sources)})
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise HarnessError(f"the earlier release ended: {self.log()[-500:]}")
            try:
                with Api(self.port) as api:
                    api.call("GET", "/readyz")
            except (OSError, HarnessError):
                time.sleep(_POLL_S)
            else:
                return
        raise HarnessError("the earlier release does not get ready")

    def stop(self) -> None:
        """Stop as a deployment does."""
        if self._process is not None:
            stop_child(self._process)
            self._process = None

    def log(self) -> str:
        """Its log so far."""
        return (self._sources / "serve.log").read_text(errors="replace")


def _run(gateway: GatewayProcess, sources: Path, seconds: float) -> Outcome:
    chance = random.Random(1)
    outcome = Outcome()
    earlier = _Earlier(sources, gateway)
    with Api(gateway.port) as api:
        skus = api.skus(50)
    stock_up(gateway, [Sku(each) for each in skus], UNITS)
    try:
        earlier.start()
        began = restarted = time.monotonic()
        with show_steps(round(seconds)) as step:
            while (now := time.monotonic()) - began < seconds:
                if now - restarted >= RESTART_EVERY_S:
                    earlier.stop()
                    earlier.start()
                    outcome.restarts += 1
                    restarted = time.monotonic()
                _shop(chance, skus, (gateway.port, earlier.port), outcome)
                step(f"{now - began:.0f} of {seconds:.0f} s, {len(outcome.orders)} orders")
        _await_ends(gateway.port, outcome)
        if "Traceback" in earlier.log():
            outcome.differences.append("the earlier release has logged a traceback")
    finally:
        earlier.stop()
    return outcome


def _shop(chance: random.Random, skus: list[str], ports: tuple[int, int], outcome: Outcome) -> None:
    """One shopper, each of whose calls goes to one of the releases."""

    def call(method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        with Api(chance.choice(ports)) as api:
            return api.call(method, path, body, tuple((headers or {}).items()))

    cart_id = call("POST", "/v1/carts", {})["id"]
    chosen = {sku: chance.randint(1, 3) for sku in chance.sample(skus, chance.randint(1, 5))}
    for sku, quantity in chosen.items():
        call("PUT", f"/v1/carts/{cart_id}/lines/{sku}", {"quantity": quantity})
    carts = []
    for port in ports:
        with Api(port) as api:
            carts.append(api.call("GET", f"/v1/carts/{cart_id}"))
    read = {line["sku"]: line["quantity"] for line in carts[0]["lines"]}
    outcome.expect(f"cart {cart_id}", read, chosen)
    outcome.expect(f"cart {cart_id}, lines and version", _core(carts[1]), _core(carts[0]))
    key = {"Idempotency-Key": f"order of {cart_id}"}
    placed = call("POST", "/v1/checkout", checkout_of(cart_id), key)
    again = call("POST", "/v1/checkout", checkout_of(cart_id), key)
    outcome.expect(f"order of cart {cart_id}, replayed", again["id"], placed["id"])
    outcome.orders.append(placed["id"])


def _core(cart: Any) -> Any:
    """The members of a cart that every release has."""
    lines = [(line["sku"], line["quantity"]) for line in cart["lines"]]
    return cart["id"], cart["version"], cart["status"], cart["subtotal"], lines


def _await_ends(port: int, outcome: Outcome) -> None:
    deadline = time.monotonic() + END_WITHIN_S
    while time.monotonic() < deadline and (left := [each for each in outcome.orders if each not in outcome.ends]):
        with Api(port) as api:
            for order_id in left:
                status = str(api.call("GET", f"/v1/orders/{order_id}")["status"])
                if status in ENDED:
                    outcome.ends[order_id] = status
        time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(main())
