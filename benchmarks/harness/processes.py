"""Children, CPU time and memory of other processes, from /proc, and pinning them to a core."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_STAT = Path("/proc/stat")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a process: all that is resident, and its share of it when shared pages are divided fairly."""

    rss: int
    pss: int


class CpuTime(NamedTuple):
    """Seconds of CPU time: in the program, and in the kernel on its behalf."""

    user_s: float
    system_s: float

    @property
    def total_s(self) -> float:
        """Both together."""
        return self.user_s + self.system_s

    def since(self, before: "CpuTime") -> "CpuTime":
        """The time used after an earlier reading."""
        return CpuTime(self.user_s - before.user_s, self.system_s - before.system_s)


def parse_cpu_time(stat: str, ticks_per_s: int = _TICKS_PER_S) -> CpuTime:
    """Time of the process, its threads included, from /proc/<pid>/stat (proc(5), fields 14 and 15)."""
    # The second field is the program's name in brackets and may hold spaces and brackets itself.
    after_name = stat.rpartition(")")[2].split()
    return CpuTime(int(after_name[11]) / ticks_per_s, int(after_name[12]) / ticks_per_s)


def cpu_time(pid: int) -> CpuTime:
    """CPU time the process has used so far; resolves 10 ms."""
    return parse_cpu_time(Path(f"/proc/{pid}/stat").read_text())


def parse_memory(smaps_rollup: str) -> Memory:
    """RSS and PSS from /proc/<pid>/smaps_rollup, whose values are in KiB."""
    kib = {line.split(":")[0]: int(line.split()[1]) for line in smaps_rollup.splitlines() if line.endswith(" kB")}
    return Memory(rss=kib["Rss"] * 1024, pss=kib["Pss"] * 1024)


def memory(pid: int) -> Memory:
    """The memory of a process now."""
    return parse_memory(Path(f"/proc/{pid}/smaps_rollup").read_text())


def parse_busy_ticks(stat: str) -> int:
    """Busy ticks of all cores together, from the first line of /proc/stat (proc(5))."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(ticks) for ticks in stat.split()[1:9])
    return user + nice + system + irq + softirq + steal


def busy_cores(over_s: float) -> float:
    """The average number of busy cores during the next seconds, by any program on the machine."""
    began, before = time.monotonic(), parse_busy_ticks(_STAT.read_text())
    time.sleep(over_s)
    return (parse_busy_ticks(_STAT.read_text()) - before) / _TICKS_PER_S / (time.monotonic() - began)


def descendants(pid: int) -> list[int]:
    """Children of the process, their children and so on."""
    found: list[int] = []
    unseen = [pid]
    while unseen:
        children = _children(unseen.pop())
        found += children
        unseen += children
    return found


def command_line(pid: int) -> str:
    """The command and arguments of the process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def pin(pid: int, core: int) -> None:
    """Let all threads of the process run on that core only."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
