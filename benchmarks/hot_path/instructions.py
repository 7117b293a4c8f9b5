"""Instructions of a process while it serves, counted by the processor through `perf stat`.

Unlike CPU time, the count is the same on a busy machine. Virtual machines often hide the counter.
"""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.harness.gateway_process import HarnessError

_EVENT: Final = "instructions:u"


def why_not_counted() -> str | None:
    """The reason why instructions cannot be counted on this machine; None where they can."""
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
