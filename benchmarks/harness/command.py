"""What all benchmarks do as commands: end in order on a signal, and say in one line what cannot be measured."""

import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from benchmarks.harness.gateway_process import HarnessError


def exit_code_of(name: str, measure: Callable[[], object]) -> int:
    """Measure; returns 0 when everything could be measured, whether or not targets are met."""
    signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        measure()
    except HarnessError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def check_cores(*cores: int) -> None:
    """Raise `HarnessError` unless processes can be pinned to these cores, and read from /proc."""
    if not sys.platform.startswith("linux"):
        raise HarnessError("processes are pinned to cores and read from /proc: this measurement needs Linux")
    if not {*cores} <= os.sched_getaffinity(0):
        raise HarnessError("two cores are needed: one for the worker, one for all others")


def allow_open_files(files: int) -> None:
    """Raise the limit of open files, for this process and the gateways it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        raise HarnessError(f"{files} open files are needed and only {hard} allowed; raise it with `ulimit -n`")
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


def _exit_on_signal(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)
