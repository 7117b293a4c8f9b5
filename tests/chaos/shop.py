"""A shop in its processes, that is tried hard: with a payment service that fails, and a disk that can be filled."""

from __future__ import annotations

import csv
import random
import urllib.error
from http.client import HTTPException
from pathlib import Path
from typing import Final

from benchmarks.harness.store_cluster import StoreCluster
from benchmarks.upstreams.payment_stand_in import Fault, PaymentStandIn
from primitives.webhook_signature import WebhookSigner, new_secret
from tests.chaos import stepped_clock
from tests.chaos.queue import ChaosQueue
from tests.e2e.running_shop import CATALOGUE, RunningShop, peakgate
from tests.sentinels import Watched

# The products that everybody wants, and how much of each there is.
DROP: Final = "DROP"
WITH_COUPON: Final = "DROP-WITH-COUPON"
DROPS: Final = {DROP: 50, WITH_COUPON: 10}
PLENTY: Final = 100_000_000
# Of the calls of the payment service, without an outage.
_FAILING_SHARE: Final = 0.02
_FAULTS: Final = (Fault.FAILS, Fault.FAILS_LATE, Fault.BUSY)

Servers = Watched | StoreCluster


class ChaosShop(RunningShop):
    """A shop whose processes are killed and paused; `disk` is the file system that it is on, `servers` its store if it is not embedded, `queue` the queue of its orders if that is not in the store."""

    module = stepped_clock.__name__

    def __init__(
        self,
        disk: Path,
        folder: Path,
        rng: random.Random,
        *,
        servers: Servers | None = None,
        queue: ChaosQueue | None = None,
    ) -> None:
        super().__init__(disk / "data")
        self.disk = disk
        self.servers = servers
        self.queue = queue
        self.clock = stepped_clock.SteppedClock(folder / "clock")
        self.payment_is_away = False
        self._rng = rng
        self._folder = folder
        self._log_path = folder / "serve.log"
        self._runs = 0
        secret = new_secret()
        (folder / "payment-key").write_text(secret)
        self.payments = PaymentStandIn(signer=WebhookSigner(secret), fault=self._payment_fault)
        self._options: tuple[str, ...] = ()

    def open(self, payment_url: str) -> None:
        """Start with everything in stock, and a few units of the drops."""
        self._options = (
            "--workers", "2", "--catalog", str(self._catalogue()), "--payment", "http", "--payment-url", payment_url,
            "--payment-key-file", str(self._folder / "payment-key"),
        )  # fmt: skip
        if self.servers is not None:
            self._options += ("--store-url", self.servers.url, "--durability", "replica")
        if self.queue is not None:
            self._options += self.queue.options
        self._start()

    def offer_coupon(self, code: str, uses: int) -> None:
        """Let shoppers have a tenth off, so many times in all."""
        offered = self.admin("PUT", f"/admin/v1/coupons/{code}", {"name": code, "percent": 10, "uses": uses})
        assert offered.status == 200, offered

    def coupon_uses(self, code: str) -> int:
        """How many uses of the coupon are left."""
        return int(self.admin("GET", f"/admin/v1/coupons/{code}").body["uses"]["left"])

    def cut_power(self) -> None:
        """All processes die at once, and are started again."""
        self.kill()
        self._runs += 1
        self._log_path.rename(self._folder / f"serve-{self._runs}.log")
        self._start()

    def _start(self) -> None:
        self.start(*self._options, **{stepped_clock.FILE_VARIABLE: str(self.clock.path)})

    def is_well(self) -> bool:
        """Whether it is ready, with all of its processes, and the servers of its store are all there."""
        try:
            return (
                self.call("GET", "/readyz").status == 200
                and len(self.worker_pids()) == 2
                and self.admin("GET", "/admin/v1/status").status == 200
                and (self.servers is None or self.servers.is_well())
            )
        except (urllib.error.URLError, ConnectionError, HTTPException):
            return False

    def answered(self, method: str, path: str) -> int:
        """The status of a call of the admin API; 0 while nobody answers."""
        try:
            return self.admin(method, path).status
        except (urllib.error.URLError, ConnectionError, HTTPException):
            return 0

    def audit(self) -> str:
        """What the audit finds to be wrong; empty if the books agree."""
        where = ("--data-dir", str(self.data_dir)) if self.servers is None else ("--store-url", self.servers.url)
        done = peakgate("audit", "--rate", "100000", *where)
        return done.stdout + done.stderr if done.returncode else ""

    def tracebacks(self) -> list[str]:
        """What the logs of all runs have of exceptions that nobody expected, with some lines around each."""
        found: list[str] = []
        for path in self._folder.glob("serve*.log"):
            lines = path.read_text().splitlines()
            found += [
                "\n".join(lines[max(0, at - 3) : at + 40]) for at, line in enumerate(lines) if "Traceback" in line
            ]
        return found

    def _payment_fault(self, _operation: str) -> Fault:
        if self.payment_is_away:
            return Fault.BUSY
        return self._rng.choice(_FAULTS) if self._rng.random() < _FAILING_SHARE else Fault.NONE

    def _catalogue(self) -> Path:
        path = self._folder / "catalog.csv"
        with CATALOGUE.open(newline="") as source, path.open("w", newline="") as target:
            rows = csv.DictReader(source)
            writer = csv.DictWriter(target, rows.fieldnames or ())
            writer.writeheader()
            writer.writerows({**row, "stock": PLENTY} for row in rows)
            writer.writerows(
                {"sku": sku, "name": sku, "price": "10.00", "currency": "GBP", "stock": stock}
                for sku, stock in DROPS.items()
            )
        return path
