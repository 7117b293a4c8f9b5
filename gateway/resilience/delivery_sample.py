"""A sample of the requests that a dependency delivered."""

from __future__ import annotations

from typing import NamedTuple


class DeliverySample(NamedTuple):
    """Requests delivered in some time that ended at `ended_at`: how many a second, and how long one took.

    `is_unloaded`: few requests were in flight, so that none waited for another.
    """

    ended_at: float
    per_s: float
    mean_s: float
    is_unloaded: bool
