"""A `peakgate serve` in a process of its own, over a data directory that outlives it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from benchmarks.harness.ports import free_port
from benchmarks.harness.processes import descendants
from tests.waiting import WITHIN_S

CATALOGUE = Path(__file__).parents[2] / "examples" / "catalog.csv"
# How long a condition is waited for before the test fails; nothing is measured by it.
PATIENCE_S = WITHIN_S
POLL_S = 0.02
# A busy machine looks like an overload; tests of shedding have policies of their own.
UNSHED = "\n[shedding]\nenabled = false\n"
T = TypeVar("T")


class Response(NamedTuple):
    status: int
    headers: Message
    body: Any


def eventually(what: Callable[[], T], is_right: Callable[[T], object] = bool) -> T:
    """The first right value of `what`."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        value = what()
        if is_right(value):
            return value
        assert time.monotonic() < deadline, f"still {value!r} after {PATIENCE_S:g} s"
        time.sleep(POLL_S)


def peakgate(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        command(*words), env=environment(**variables), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def command(*words: str, module: str = "gateway") -> list[str]:
    return [sys.executable, "-m", module, *words]


def environment(**variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PEAKGATE_")}
    # A deprecation or a forgotten resource of a server is a fault of its test as well, but must not end the server.
    return {**clean, "PEAKGATE_ADMIN_PORT": "0", **variables, "PYTHONUNBUFFERED": "1"}


class RunningShop:
    """One data directory and the servers that run over it, one after the other."""

    module = "gateway"

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        # Not one that the kernel picks: it may give it to somebody else while the server is down.
        self.port = free_port()
        self.admin_url = ""
        self._process: subprocess.Popen[str] | None = None
        self._log_path = data_dir.with_suffix(".log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log_path.read_text()

    def start(self, *options: str, **variables: str) -> None:
        """Serve on the same port as before, and return when ready.

        Without options of a test, calls to the store have more time than on a machine of its own, so that a busy one
        fails no request, and nothing is shed unless the test's policies say so.
        """
        variables = {"PEAKGATE_STORE_TIMEOUT": "5", **variables}
        if "--config" not in options:
            variables.setdefault("PEAKGATE_CONFIG", str(self._unshed_policies()))
        words = ["serve", "--port", str(self.port), "--data-dir", str(self.data_dir), *options]
        with self._log_path.open("w") as log:
            self._process = subprocess.Popen(
                command(*words, module=self.module),
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        said = eventually(lambda: self.log, lambda text: "ready on" in text or not self.is_running)
        found = re.search(r"ready on http://127\.0\.0\.1:(\d+)", said)
        assert found, said
        self.port = int(found[1])
        admin = re.search(r"admin at (http://127\.0\.0\.1:\d+)", said)
        self.admin_url = admin[1] if admin else ""

    def _unshed_policies(self) -> Path:
        path = self.data_dir.with_suffix(".unshed.toml")
        path.write_text(UNSHED)
        return path

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def family(self) -> list[int]:
        return [self.pid, *descendants(self.pid)]

    def store_pid(self) -> int:
        return self.store_pids()[0]

    def store_pids(self) -> list[int]:
        """The embedded store; none for a moment when it has died, and for a shop with another store."""
        return [
            pid
            for pid in descendants(self.pid)
            if any(program in _command_line(pid) for program in (b"valkey-server", b"redis-server"))
        ]

    def worker_pids(self) -> list[int]:
        return [pid for pid in descendants(self.pid) if pid not in {*self.store_pids(), *self.control_pids()}]

    def control_pids(self) -> list[int]:
        """The control process; none for a moment when it has died."""
        return [pid for pid in descendants(self.pid) if _name(pid) == "peakgate-contro"]

    def kill(self) -> None:
        """What a power cut does: SIGKILL to the parent, the workers and the store."""
        family = self.family()
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        eventually(lambda: [pid for pid in family if is_alive(pid)], lambda left: not left)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop as an operator does; the exit code. No process may be left."""
        assert self._process is not None
        if self._process.poll() is None:
            family = self.family()
            os.killpg(self.pid, number) if number == signal.SIGINT else os.kill(self.pid, number)
            self._process.wait(PATIENCE_S)
            assert [pid for pid in family if is_alive(pid)] == []
        return self._process.returncode

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Response:
        """One call on a connection of its own."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._call(self.url, method, path, body, named)

    def _call(self, base: str, method: str, path: str, body: object, headers: dict[str, str]) -> Response:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            base + path, data, {"Content-Type": "application/json", **headers}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                return Response(response.status, response.headers, _decoded(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Response(error.code, error.headers, _decoded(error.read()))

    @property
    def admin_token(self) -> str:
        return (self.data_dir / "admin-token").read_text().strip()

    def admin(
        self, method: str, path: str, body: object = None, *, token: str | None = None, key: str | None = None
    ) -> Response:
        """One call of the admin API, with its token or another, and an idempotency key if it needs one."""
        headers = {"Authorization": f"Bearer {self.admin_token if token is None else token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self._call(self.admin_url, method, path, body, headers)

    def cart_of(self, **quantities: int) -> str:
        """The id of a new cart with these lines."""
        cart_id = str(self.call("POST", "/v1/carts").body["id"])
        for sku, quantity in quantities.items():
            added = self.call("POST", f"/v1/carts/{cart_id}/lines", {"sku": sku.lstrip("_"), "quantity": quantity})
            assert added.status == 200, added
        return cart_id

    def check_out(self, cart_id: str, *, key: str = "once", token: str = "tok_ok", **headers: str) -> Response:
        body = {
            "cart_id": cart_id,
            "email": "ada@example.com",
            "shipping_address": {
                "name": "Ada",
                "line1": "1 Analytical Row",
                "city": "London",
                "postcode": "N1 1AA",
                "country": "GB",
            },
            "payment": {"token": token},
        }
        return self.call("POST", "/v1/checkout", body, Idempotency_Key=key, **headers)

    def order(self, order_id: str) -> Any:
        return self.call("GET", f"/v1/orders/{order_id}").body

    def stock(self, sku: str) -> int:
        return int(self.call("GET", f"/v1/products/{sku}").body["stock"])


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that is dead and not waited for by its new parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _command_line(pid: int) -> bytes:
    """What the process was started with; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _name(pid: int) -> str:
    """What the process calls itself; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _decoded(content: bytes) -> Any:
    if content.startswith((b"{", b"[")):
        return json.loads(content)
    return content.decode() or None
