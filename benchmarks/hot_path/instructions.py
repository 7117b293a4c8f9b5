"""Instructions per request in user space: by the processor's counter through `perf stat`, or by callgrind without it.

Unlike CPU time, the count is the same on a busy machine. Virtual machines often hide the processor's counter.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.harness.gateway_process import HarnessError
from benchmarks.hot_path.in_process import CONNECTIONS, READY, Command
from benchmarks.load.wrk import Call, write_requests

_EVENT: Final = "instructions:u"
# Callgrind is some 50 times slower: with more different calls, cached products would expire before they are used again.
_DIFFERENT_CALLS: Final = 128
_WARM_UP: Final = 256
_COUNTED: Final = 512
_TRIES: Final = 3


def why_perf_cannot_count() -> str | None:
    """The reason why perf cannot count instructions on this machine; None where it can."""
    if shutil.which("perf") is None:
        return "perf is not on PATH; on Debian and Ubuntu `apt install linux-perf` installs it"
    output = subprocess.run(["perf", "stat", "-x", ",", "-e", _EVENT, "true"], capture_output=True, check=False).stderr
    try:
        parse_count(output.decode(errors="replace"))
    except ValueError as error:
        return str(error)
    return None


@dataclass(slots=True)
class Count:
    """The instructions of a process, known when `counting` has ended."""

    instructions: int = 0


@contextmanager
def counting(pid: int) -> Iterator[Count]:
    """Count the user-space instructions of the process until the context ends. Raises HarnessError if there is no count."""
    command = ["perf", "stat", "-x", ",", "-e", _EVENT, "-p", str(pid)]
    count = Count()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as perf:
        try:
            yield count
        finally:
            perf.send_signal(signal.SIGINT)
            _, output = perf.communicate()
    try:
        count.instructions = parse_count(output)
    except ValueError as error:
        raise HarnessError(str(error)) from error


def parse_count(output: str) -> int:
    """The count in the output of `perf stat -x ,`. Raises ValueError with the reason if there is none."""
    for line in output.splitlines():
        count, _, rest = line.partition(",")
        if _EVENT.partition(":")[0] in rest:
            if count.isdecimal():
                return int(count)
            raise ValueError(f"perf: {_EVENT} is {count.strip('<>')}")
    raise ValueError(f"perf: {output.strip() or 'no output'}")


class Callgrind:
    """Counts the instructions of `in_process` with valgrind's callgrind, as a substitute for perf.

    The numbers are of the program without the kernel, of 16 requests at a time, and the same on each run.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._dumps = 0
        if self._read_line() != READY:
            raise HarnessError(f"in_process did not start under valgrind: {self._log()}")

    def count(self, groups: Sequence[Sequence[Call]], status: int) -> float:
        """Instructions per request. Raises HarnessError if responses have another status."""
        files = []
        for number, calls in enumerate(groups):
            file = self._folder / f"{number}.requests"
            write_requests(file, calls[:_DIFFERENT_CALLS])
            files.append(str(file))
        self._execute(Command(files=files, count=_WARM_UP))
        self._execute(Command(status=status))
        self._execute(Command(files=files, count=_COUNTED))
        for _ in range(_TRIES):
            self._dump()
            wrong = self._execute(Command(status=status))
            instructions = self._dump()
            if not wrong:
                return instructions / (_COUNTED // CONNECTIONS * CONNECTIONS)
        raise HarnessError(f"{wrong} of {_COUNTED} responses do not have the status {status}")

    def _execute(self, command: Command) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(command) + b"\n")
        self._process.stdin.flush()
        return int(self._read_line() or _COUNTED)

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    def _dump(self) -> int:
        """Instructions since the last dump."""
        command = ["callgrind_control", "--dump", str(self._process.pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self._dumps += 1
        try:
            return parse_dump((self._folder / f"counts.{self._dumps}").read_text())
        except (OSError, ValueError) as error:
            raise HarnessError(f"callgrind_control: {done.stderr.strip() or done.stdout.strip() or error}") from error

    def _log(self) -> str:
        return (self._folder / "log").read_text(errors="replace").strip()[-300:]


@contextmanager
def callgrind(server: str, *options: str) -> Iterator[Callgrind]:
    """Run `in_process` under callgrind until the context ends. Raises HarnessError if valgrind is missing."""
    if shutil.which("valgrind") is None:
        raise HarnessError("valgrind is not on PATH; on Debian and Ubuntu `apt install valgrind` installs it")
    with tempfile.TemporaryDirectory(prefix="peakgate-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        log = stack.enter_context((folder / "log").open("wb"))
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder / 'counts'}"]
        command += [sys.executable, "-m", "benchmarks.hot_path.in_process", server, *options]
        process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        )
        try:
            yield Callgrind(process, folder)
        finally:
            process.kill()


def parse_dump(text: str) -> int:
    """The instructions in a dump of callgrind. Raises ValueError if there are none."""
    for line in text.splitlines():
        if line.startswith(("totals:", "summary:")):
            return int(line.split()[1])
    raise ValueError("a dump of callgrind has no total")
