"""Messages of a command to the terminal, or to the log where that is JSON."""

from __future__ import annotations

import logging
import sys
from typing import Final

from gateway.log_format import COMMAND_LOGGER, is_json

_log: Final = logging.getLogger(COMMAND_LOGGER)


def say(line: str, level: int = logging.INFO) -> None:
    """Print one line on standard error; where log lines are JSON, it is one of them."""
    if is_json():
        _log.log(level, "%s", line)
    else:
        print(f"peakgate: {line}", file=sys.stderr, flush=True)


def fail(line: str) -> None:
    """Say a line as an error."""
    say(line, logging.ERROR)
