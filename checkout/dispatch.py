"""Hands new entries of the outbox to the dispatcher of the process, so that they do not wait for a sweep."""

from __future__ import annotations

import logging
from collections.abc import Callable

from checkout.order_number import order_number
from checkout.ports.outbox import OutboxEntry

logger = logging.getLogger(__name__)

# Takes an entry and does not wait.
Dispatch = Callable[[OutboxEntry], None]


def try_dispatch(dispatch: Dispatch, entry: OutboxEntry) -> None:
    """Dispatch the entry. An error is logged only: the entry is stored, and a sweep finds it in the outbox."""
    try:
        dispatch(entry)
    except Exception:
        logger.exception("order %s is sent to the queue later, because sending it failed", order_number(entry.order_id))
