"""How loudly a failure is logged that follows from an outage which is logged where it is noticed."""

from __future__ import annotations

import logging


def level_of(error: BaseException) -> int:
    """The level for a failure that is tried again: DEBUG where its cause `is_logged_once`, WARNING otherwise."""
    causes = (error, error.__cause__)
    return logging.DEBUG if any(getattr(cause, "is_logged_once", False) for cause in causes) else logging.WARNING
