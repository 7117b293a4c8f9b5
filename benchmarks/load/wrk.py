"""Load from wrk (https://github.com/wg/wrk): prepared requests over many keep-alive connections."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from benchmarks.harness.gateway_process import HarnessError

_PLAY = Path(__file__).with_name("wrk_play.lua")
_FILL = Path(__file__).with_name("wrk_fill.lua")
_SUMMARY_PREFIX = "SUMMARY "
HOST: Final = "shop.example"
# Where a prepared request has this, each request that is sent has another trace ID of the same form (`wrk_play.lua`).
TRACE_ID: Final = "Root=1-00000000-000000000000000000000000"
Headers = Sequence[tuple[str, str]]


class Call(NamedTuple):
    """One request to prepare; the path is percent-encoded, the body JSON or empty."""

    method: str
    path: str
    body: bytes = b""
    headers: Headers = ()

    def encode(self) -> bytes:
        """The bytes of the request; `Host` comes first unless the headers have one. Raises `ValueError` for line ends."""
        fields = list(self.headers)
        if not any(name.lower() == "host" for name, _ in fields):
            fields.insert(0, ("Host", HOST))
        if self.body:
            fields += [("Content-Type", "application/json"), ("Content-Length", str(len(self.body)))]
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("the request line and header fields must not contain line ends")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The totals of one run of wrk. `errors` are responses with a status of 400 or more."""

    requests: int
    seconds: float
    errors: int
    socket_errors: int
    p50_ms: float
    p99_ms: float


def find_wrk() -> str:
    """The wrk on PATH. Raises HarnessError with the command that installs it."""
    path = shutil.which("wrk")
    if path is None:
        raise HarnessError("wrk is not on PATH; install it with `apt install wrk` (or from https://github.com/wg/wrk)")
    return path


def wrk_version() -> str:
    """Name and version of wrk."""
    output = subprocess.run([find_wrk(), "-v"], capture_output=True, text=True, check=False).stdout
    return output.partition("Copyright")[0].strip()


def play(port: int, groups: Sequence[Sequence[Call]], *, seconds: float, connections: int) -> LoadResult:
    """Send the calls of each group in turn, repeatedly, for about so many seconds.

    One group is shared by all connections, so that requests of different clients alternate on each of them. Of several
    groups each has connections of its own; `connections` must be a multiple of their number.
    """
    with ExitStack() as stack:
        names = []
        for calls in groups:
            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="peakgate-bench-", suffix=".requests"))
            write_requests(Path(file.name), calls)
            names.append(file.name)
        command = _command(port, _PLAY, names, seconds=seconds, threads=len(groups), connections=connections)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return parse_summary(done.stdout, stderr=done.stderr)


def write_requests(path: Path, calls: Sequence[Call]) -> None:
    """Write a file of prepared requests: the length of each on a line, then its bytes."""
    with path.open("wb") as file:
        for call in calls:
            request = call.encode()
            file.write(b"%d\n%b" % (len(request), request))


def read_requests(path: str | Path) -> list[bytes]:
    """The requests of a file that `write_requests` wrote."""
    requests = []
    with Path(path).open("rb") as file:
        while line := file.readline():
            requests.append(file.read(int(line)))
    return requests


def fill_carts(port: int, carts: int, batches: Sequence[bytes], *, connections: int) -> None:
    """Create that many carts and give each the lines of one of the batches (bodies of `PATCH …/lines`) in turn."""
    with tempfile.NamedTemporaryFile(prefix="peakgate-bench-", suffix=".batches") as file:
        file.writelines(batch + b"\n" for batch in batches)
        file.flush()
        # wrk is stopped when all are filled; the limit is for a response that never arrives.
        max_s = 30 + carts / 250
        command = _command(port, _FILL, [str(carts), file.name], seconds=max_s, threads=1, connections=connections)
        result = _run_until_enough(command)
    if result.errors or result.socket_errors:
        raise HarnessError(f"{result.errors + result.socket_errors} calls failed while filling carts")


def _run_until_enough(command: Sequence[str]) -> LoadResult:
    """Run wrk and stop it when its script prints ENOUGH."""
    printed = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as wrk:
        assert wrk.stdout is not None
        for line in wrk.stdout:
            printed.append(line)
            if line == "ENOUGH\n":
                wrk.send_signal(signal.SIGINT)
    return parse_summary("".join(printed))


def _command(
    port: int, script: Path, arguments: Sequence[str], *, seconds: float, threads: int, connections: int
) -> list[str]:
    options = [f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    return [find_wrk(), *options, "-s", str(script), f"http://127.0.0.1:{port}", "--", *arguments]


def parse_summary(stdout: str, stderr: str = "") -> LoadResult:
    """Read the line that our wrk scripts print at the end. Raises HarnessError if there is none."""
    for line in stdout.splitlines():
        if line.startswith(_SUMMARY_PREFIX):
            summary = orjson.loads(line.removeprefix(_SUMMARY_PREFIX))
            return LoadResult(
                requests=summary["requests"],
                seconds=summary["duration_us"] / 1e6,
                errors=summary["errors"],
                socket_errors=summary["socket_errors"],
                p50_ms=summary["p50_us"] / 1e3,
                p99_ms=summary["p99_us"] / 1e3,
            )
    raise HarnessError(f"wrk printed no summary: {stderr.strip() or stdout.strip()}")
