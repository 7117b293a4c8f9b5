"""Failures of calls during an outage: how loudly they are logged, and whether the call may have taken effect."""

from __future__ import annotations

import logging


def level_of(error: BaseException) -> int:
    """The level for a failure that is tried again: DEBUG where its cause `is_logged_once`, WARNING otherwise."""
    causes = (error, error.__cause__)
    return logging.DEBUG if any(getattr(cause, "is_logged_once", False) for cause in causes) else logging.WARNING


def may_have_run(error: BaseException) -> bool:
    """Whether the call that failed may have taken effect. Only an error with `may_have_run` false excludes it."""
    return bool(getattr(error, "may_have_run", True))


def is_outage(error: BaseException) -> bool:
    """Whether a dependency was away, so that the same call may succeed later; other errors are faults of the program."""
    return hasattr(error, "may_have_run")
