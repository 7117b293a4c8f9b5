"""Start and stop a gateway, and other servers, as child processes of a benchmark."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import orjson
import redis

from benchmarks.harness.ports import free_port
from benchmarks.harness.processes import command_line, cpu_time, descendants
from store.embedded import die_with_parent, socket_path, store_url

READY = "peakgate: ready"
BUILDS = ("compiled", "interpreted")
LONG_CART = 675  # lines; the longest basket of the Online Retail data
SAMPLE_CATALOGUE = Path(__file__).parents[2] / "examples" / "catalog.csv"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.001
_RETRIES = 5
_NOTHING: Mapping[str, str] = MappingProxyType({})


class HarnessError(Exception):
    """A benchmark cannot be run; the message is one line with the reason."""


class GatewayProcess:
    """A running `peakgate serve` with an embedded store."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, data_dir: Path, started_in_s: float) -> None:
        self._process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.started_in_s = started_in_s
        self.data_dir = data_dir
        self.store_socket = socket_path(data_dir)
        self.store = redis.Redis.from_url(store_url(data_dir))

    @property
    def store_pid(self) -> int:
        """The process of the embedded store."""
        return int(self.store.info("server")["process_id"])

    def server_processes(self) -> list[int]:
        """Every process that may serve requests: the parent and its children, but neither the store nor the control process."""
        candidates = [self._process.pid, *descendants(self._process.pid)]
        others = {self.store_pid, *filter(_is_control, candidates)}
        return [pid for pid in candidates if pid not in others and "resource_tracker" not in command_line(pid)]

    def control_process(self) -> int:
        """The process that serves the admin API. Raises HarnessError where there is none."""
        found = next(filter(_is_control, descendants(self._process.pid)), None)
        if found is None:
            raise HarnessError("the gateway has no control process")
        return found

    def workers(self) -> list[int]:
        """The children that serve requests; the parent itself where it has none."""
        return self.server_processes()[1:] or [self._process.pid]

    def build(self) -> str:
        """`compiled` or `interpreted`, from the version that the program prints; `not known` if it has neither word."""
        output = subprocess.run([*peakgate_command(), "--version"], capture_output=True, text=True, check=False).stdout
        return next((build for build in BUILDS if build in output), "not known")

    def busiest(self, before: dict[int, float]) -> int:
        """The process that used most CPU time since `cpu_times` gave `before`."""
        return max(before, key=lambda pid: cpu_time(pid).total_s - before[pid])

    def cpu_times(self) -> dict[int, float]:
        """CPU seconds used so far by each process that may serve requests."""
        return {pid: cpu_time(pid).total_s for pid in self.server_processes()}


@contextmanager
def serving(*options: str, catalogue: Path | None = SAMPLE_CATALOGUE) -> Iterator[GatewayProcess]:
    """Run `peakgate serve` with the given options on a free port and a fresh data directory, until the context ends.

    Raises HarnessError with its last lines of output if it does not get ready.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="peakgate-bench-") as folder:
        data_dir, log_path = Path(folder, "data"), Path(folder, "serve.log")
        arguments = ["--host", "127.0.0.1", "--port", str(port), "--admin-port", "0", "--data-dir", str(data_dir)]
        arguments += options
        if catalogue is not None:
            arguments += ["--catalog", str(catalogue)]
        with log_path.open("wb") as log:
            began = time.monotonic()
            process = start_child([*peakgate_command(), "serve", *arguments], log=log)
        try:
            _await_ready(process, log_path)
            gateway = GatewayProcess(process, port, data_dir, started_in_s=time.monotonic() - began)
            yield gateway
            gateway.store.close()
        finally:
            stop_child(process)


def peakgate_command() -> list[str]:
    """The installed `peakgate` of this Python, or the same without an installation."""
    installed = Path(sys.executable).with_name("peakgate")
    if installed.exists():
        return [str(installed)]
    return [sys.executable, "-m", "gateway"]


def start_child(
    command: Sequence[str],
    *,
    log: Any = None,
    stdout: Any = subprocess.DEVNULL,
    environment: Mapping[str, str] = _NOTHING,
) -> "subprocess.Popen[bytes]":
    """Start a server that gets SIGTERM when this process ends, however it ends.

    `log` is its standard error, `stdout` its standard output; `environment` is added to ours.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=log,
        # Settings come from the options only, not from variables of the shell.
        env={name: value for name, value in os.environ.items() if not name.startswith("PEAKGATE_")} | dict(environment),
        # Ctrl-C goes to the benchmark, which stops its children in order.
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - the benchmark runs no threads
    )


def stop_child(process: "subprocess.Popen[bytes]") -> None:
    """Stop the server with SIGTERM; after a while kill it and its children."""
    family = descendants(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT_S)
    for pid in (process.pid, *family):
        # The parent is not reaped yet and the children were its own, so these ids cannot belong to other processes.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def await_port(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until the child listens on the port."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_POLL_S)
    raise HarnessError(f"{process.args!r} does not listen on port {port}")


class ReceivedResponse(NamedTuple):
    """A response; names of header fields are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Api:
    """One keep-alive connection to a gateway, for preparing a benchmark."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: object = None, headers: Sequence[tuple[str, str]] = ()) -> Any:
        """The decoded JSON response. Raises HarnessError unless its status is 2xx.

        A 503 is tried again after its `Retry-After`: on a busy machine a call of the store may miss its deadline. All
        calls here may be repeated.
        """
        data = b"" if body is None else orjson.dumps(body)
        response = self.send(method, path, data, headers)
        for _ in range(_RETRIES):
            if response.status != 503:
                break
            time.sleep(float(response.headers.get("retry-after", "1")))
            response = self.send(method, path, data, headers)
        if not 200 <= response.status < 300:
            raise HarnessError(f"{method} {path} returned {response.status}: {response.body[:200]!r}")
        return orjson.loads(response.body)

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> ReceivedResponse:
        """Send one request, its body JSON, and return the response of any status."""
        fields = dict(headers) | ({"Content-Type": "application/json"} if body else {})
        self._connection.request(method, path, body or None, fields)
        response = self._connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return ReceivedResponse(response.status, names, response.read())

    def skus(self, count: int) -> list[str]:
        """The first SKUs of the shop."""
        found: list[str] = []
        cursor = ""
        while len(found) < count:
            page = self.call("GET", f"/v1/products?limit=100{cursor}")
            found += [product["sku"] for product in page["products"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        if len(found) < count:
            raise HarnessError(f"the shop has {len(found)} products, the measurement needs {count}")
        return found[:count]

    def cart_of(self, skus: Sequence[str], headers: Sequence[tuple[str, str]] = ()) -> str:
        """Id of a new cart with two units of each SKU; it belongs to the shopper whose token is in `headers`."""
        cart_id = str(self.call("POST", "/v1/carts", {}, headers)["id"])
        if skus:
            lines = [{"sku": sku, "quantity": 2} for sku in skus]
            self.call("PATCH", f"/v1/carts/{cart_id}/lines", lines, headers)
        return cart_id

    def check_out(self, cart_id: str, *, key: str, payment: str = "tok_ok") -> str:
        """Id of the order of this cart, with an idempotency key."""
        return str(self.call("POST", "/v1/checkout", checkout_of(cart_id, payment), [("Idempotency-Key", key)])["id"])


def checkout_of(cart_id: str, payment: str = "tok_ok") -> dict[str, Any]:
    """The body of a checkout of this cart, paid for by a token of the sandbox."""
    return {
        "cart_id": cart_id,
        "email": "shopper@shop.example",
        "shipping_address": {
            "name": "A. Shopper",
            "line1": "1 High Street",
            "city": "London",
            "postcode": "N1 9GU",
            "country": "GB",
        },
        "payment": {"token": payment},
    }


def _is_control(pid: int) -> bool:
    """Whether it is the process of the admin API, by its name, of which the kernel stores 15 bytes."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "peakgate-control"[:15]
    return False


def _await_ready(process: "subprocess.Popen[bytes]", log_path: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        output = log_path.read_text(errors="replace")
        if any(line.startswith(READY) for line in output.splitlines()):
            return
        if process.poll() is not None:
            raise HarnessError(f"peakgate serve ended with {process.returncode}: {_last_lines(output)}")
        time.sleep(_POLL_S)
    raise HarnessError(f"peakgate serve is not ready after {_START_TIMEOUT_S:g} s: {_last_lines(output)}")


def _last_lines(output: str) -> str:
    return " / ".join(output.splitlines()[-3:]) or "it output nothing"
