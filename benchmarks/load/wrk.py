"""Load from wrk (https://github.com/wg/wrk): one thread, many connections, prepared requests."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from benchmarks.harness.gateway_process import HarnessError

_PLAY = Path(__file__).with_name("wrk_play.lua")
_FILL = Path(__file__).with_name("wrk_fill.lua")
_MARK = "SUMMARY "
_FIELD_END = "\x1f"
Headers = Sequence[tuple[str, str]]


class Call(NamedTuple):
    """One request to prepare; the path is percent-encoded, the body JSON or empty. `headers` are fields of its own."""

    method: str
    path: str
    body: bytes = b""
    headers: Headers = ()

    def to_line(self) -> bytes:
        """The line that `wrk_play.lua` reads it from. Raises `ValueError` for fields that would not fit in there."""
        fields = _FIELD_END.join(f"{name}: {value}" for name, value in self.headers)
        if "\t" in fields or "\n" in fields:
            raise ValueError("fields of prepared requests hold no tabs and no line ends")
        return b"%b\t%b\t%b\t%b\n" % (self.method.encode(), self.path.encode(), fields.encode(), self.body)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What wrk saw. `refused` answers have a status of 400 or more."""

    requests: int
    seconds: float
    refused: int
    socket_errors: int
    p50_ms: float
    p99_ms: float


def find_wrk() -> str:
    """The wrk on PATH. Raises HarnessError that says how to get one."""
    found = shutil.which("wrk")
    if found is None:
        raise HarnessError("wrk is not on PATH; install it with `apt install wrk` (or from https://github.com/wg/wrk)")
    return found


def wrk_version() -> str:
    """What wrk calls itself."""
    said = subprocess.run([find_wrk(), "-v"], capture_output=True, text=True, check=False).stdout
    return said.partition("Copyright")[0].strip()


def play(port: int, calls: Sequence[Call], *, seconds: float, connections: int) -> LoadResult:
    """Send the calls in turn, over and over, for about that long."""
    with tempfile.NamedTemporaryFile(prefix="peakgate-bench-", suffix=".requests") as file:
        file.writelines(call.to_line() for call in calls)
        file.flush()
        command = _command(port, _PLAY, [file.name], seconds=seconds, connections=connections)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return parse_summary(done.stdout, said=done.stderr)


def fill_carts(port: int, carts: int, batches: Sequence[bytes], *, connections: int) -> None:
    """Create that many carts and give each the lines of one of the batches (bodies of `PATCH …/lines`) in turn."""
    with tempfile.NamedTemporaryFile(prefix="peakgate-bench-", suffix=".batches") as file:
        file.writelines(batch + b"\n" for batch in batches)
        file.flush()
        # Ended when all are filled; the time is for the case that an answer never comes.
        most_s = 30 + carts / 250
        command = _command(port, _FILL, [str(carts), file.name], seconds=most_s, connections=connections)
        result = _run_until_enough(command)
    if result.refused or result.socket_errors:
        raise HarnessError(f"{result.refused + result.socket_errors} calls failed while filling carts")


def _run_until_enough(command: Sequence[str]) -> LoadResult:
    """Run wrk and end it when its script says ENOUGH."""
    printed = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as wrk:
        assert wrk.stdout is not None
        for line in wrk.stdout:
            printed.append(line)
            if line == "ENOUGH\n":
                wrk.send_signal(signal.SIGINT)
    return parse_summary("".join(printed))


def _command(port: int, script: Path, arguments: Sequence[str], *, seconds: float, connections: int) -> list[str]:
    options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(script)]
    return [find_wrk(), *options, f"http://127.0.0.1:{port}", "--", *arguments]


def parse_summary(printed: str, said: str = "") -> LoadResult:
    """Read the line that our wrk scripts print at the end."""
    for line in printed.splitlines():
        if line.startswith(_MARK):
            seen = orjson.loads(line.removeprefix(_MARK))
            return LoadResult(
                requests=seen["requests"],
                seconds=seen["duration_us"] / 1e6,
                refused=seen["refused"],
                socket_errors=seen["socket_errors"],
                p50_ms=seen["p50_us"] / 1e3,
                p99_ms=seen["p99_us"] / 1e3,
            )
    raise HarnessError(f"wrk gave no summary: {said.strip() or printed.strip()}")
