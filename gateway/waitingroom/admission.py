"""Decisions of a waiting room: expected time, retry interval, and the factor of the admission rate.

The order of admission is decided in the store, in one script, for all workers and gateways.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

MIN_RETRY_S: Final = 1
MAX_RETRY_S: Final = 60
# A waiting client polls this many times before its place would expire.
POLLS_PER_RECONNECT: Final = 3
RETRY_JITTER: Final = 0.2

# Longer times are not estimated.
MAX_ETA_S: Final = 86_400

# Single shed checkouts are normal, for example while the concurrency limit is being found.
MAX_SHED_SHARE: Final = 0.02
# Time for a lower factor to show its effect before it is halved again.
HALVE_EVERY_S: Final = 5.0
# From standstill to full pace.
RECOVER_S: Final = 60.0
# Never zero: a few admitted clients show whether the overload is over.
MIN_FACTOR: Final = 1 / 64


class Visit(Struct, frozen=True):
    """The result of a request for admission.

    `place_id` is the place of the client, also once admitted, and `number` its number in the order of arrival, from 1.
    `ahead` clients wait before it; `spare` of the waiting ones can be served by the stock, None if unknown. `per_s` are
    admitted each second while the cap of active clients has room, which it has for `free` of them, None without a cap; then
    only as fast as active clients leave, `leaving_per_s`, None if unknown. `full`: the queue is full, and there is no place.
    `at_s` is the Unix time of the visit by the clock of the store, None if unknown.
    """

    outcome: Literal["admitted", "waiting", "full"]
    place_id: str
    number: int
    ahead: int
    spare: int | None
    per_s: float
    free: int | None = None
    leaving_per_s: float | None = None
    at_s: float | None = None

    @property
    def is_sold_out(self) -> bool:
        """Whether the stock is too small for the clients ahead."""
        return self.spare is not None and self.ahead >= self.spare


class RoomStatus(Struct, frozen=True):
    """The state of a room.

    `bought` of the `active` have ordered already; `stock` is the number of units available, None where the room has no
    SKUs; `tokens` is how many may be admitted now as far as the rate is concerned.
    Rate and cap are multiplied by `factor`; `why` is the reason where it is below 1. `at_s` is as in `Visit`.
    """

    waiting: int
    active: int
    bought: int
    admitted: int
    tokens: float
    per_s: float
    factor: float
    why: str
    stock: int | None
    at_s: float | None = None


Bound = Literal["no queue", "the rate", "the active shoppers", "the stock"]


def bound_by(status: RoomStatus, *, max_active: int) -> Bound:
    """The bound that keeps the next client waiting."""
    if not status.waiting:
        return "no queue"
    if status.stock is not None and status.stock <= status.active - status.bought:
        return "the stock"
    if status.active >= max(1, math.floor(max_active * status.factor)):
        return "the active shoppers"
    return "the rate"


def eta_s(visit: Visit) -> int | None:
    """About how many seconds until the client is admitted; None if unknown, or longer than `MAX_ETA_S`.

    Once the cap of active clients is reached, what counts is how fast they leave, not the rate of the table.
    """
    if visit.free is None or visit.ahead < visit.free:
        return _seconds(visit.ahead + 1, visit.per_s)
    if visit.leaving_per_s is None:
        return None
    return _seconds(visit.ahead + 1 - visit.free, visit.leaving_per_s)


def earliest_s(visit: Visit) -> int | None:
    """The seconds until the client may be admitted at the current rate: when to ask again where there is no estimate."""
    return _seconds(visit.ahead + 1, visit.per_s)


def _seconds(clients: int, per_s: float) -> int | None:
    return None if per_s * MAX_ETA_S < clients else math.ceil(clients / per_s)


def retry_after_s(eta: int | None, *, reconnect_s: float, chance: float) -> int:
    """The seconds until the client polls again: when it is admitted if that is soon, else before its place expires.

    `chance` in [0, 1) spreads clients.
    """
    longest = max(MIN_RETRY_S, min(MAX_RETRY_S, reconnect_s / POLLS_PER_RECONNECT))
    wanted = longest if eta is None else min(eta, longest)
    return max(MIN_RETRY_S, min(math.floor(longest), round(wanted * (1 + RETRY_JITTER * (2 * chance - 1)))))


def session_life_s(session_s: float) -> float:
    """The life of a pass. It is renewed after a quarter of the session, so a client idle for a whole session keeps it."""
    return session_s * 1.25


class Pace:
    """The factor of the admission rate: halved on overload, and slowly raised again (AIMD).

    Additive increase and multiplicative decrease let gateways that see the same overload converge (Chiu and Jain, 1989).
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._adjusted_at = clock()
        self._halved_at = -math.inf
        self.factor = 1.0
        self.why = ""

    def adjust(self, *, shed_share: float, queue_age_s: float | None, max_queue_age_s: float) -> float:
        """Update the factor from the current signals and return it.

        `shed_share` is the share of checkouts shed lately, `queue_age_s` the age of the oldest order in the queue.
        """
        now = self._clock()
        elapsed_s, self._adjusted_at = now - self._adjusted_at, now
        reason = _overload(shed_share, queue_age_s, max_queue_age_s)
        if reason:
            self.why = reason
            if now - self._halved_at >= HALVE_EVERY_S:
                self.factor, self._halved_at = max(MIN_FACTOR, self.factor / 2), now
        elif self.factor < 1:
            self.factor = min(1.0, self.factor + elapsed_s / RECOVER_S)
            self.why = "recovering" if self.factor < 1 else ""
        return self.factor


def _overload(shed_share: float, queue_age_s: float | None, max_queue_age_s: float) -> str:
    if shed_share > MAX_SHED_SHARE:
        return "checkout is being shed"
    if queue_age_s is not None and queue_age_s > max_queue_age_s:
        return "orders wait too long"
    return ""
