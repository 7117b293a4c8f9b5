"""Whom a waiting room lets in, and when: what is known of a place, how long it will take, and how fast the room may run.

Who is first is decided in the store, in one script, so that it holds for all workers and gateways. Here is the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

RETRY_LEAST_S: Final = 1
RETRY_MOST_S: Final = 60
# A shopper who waits is asked to come back this many times before the place would be given up.
ASKS_PER_AWAY: Final = 3
RETRY_JITTER: Final = 0.2

# What takes longer than a day takes nobody knows how long.
ETA_MOST_S: Final = 86_400

# A checkout refused now and then is normal life, such as one shed while the limit is being found.
TROUBLED_SHARE: Final = 0.02
# How long a slower pace is given to show its effect before it is halved again.
HALVE_EVERY_S: Final = 5.0
# From standstill to full pace.
RECOVER_S: Final = 60.0
# Never nobody: without a few shoppers let in there would be no telling whether things are better.
FACTOR_LEAST: Final = 1 / 64


class Visit(Struct, frozen=True):
    """What the room answers to a shopper who asks.

    `place_id` is the shopper's place, also once admitted, and `number` its number in the order of arrival, from 1. `ahead`
    wait before him; `spare` is how many of those who wait the stock can still serve, None where it is not known;
    `per_s` is how many are being admitted each second. `full`: the room holds too many already, and gave no place.
    """

    answer: Literal["admitted", "waiting", "full"]
    place_id: str
    number: int
    ahead: int
    spare: int | None
    per_s: float

    @property
    def is_sold_out(self) -> bool:
        """Whether the stock cannot serve those ahead."""
        return self.spare is not None and self.ahead >= self.spare


class Standing(Struct, frozen=True):
    """How a room is doing.

    `bought` of the `active` have ordered already; `stock` is the number of units available, None where the room is for
    nothing in particular; `tokens` is how many may be admitted now as far as the rate is concerned.
    `factor` is what rate and cap are multiplied with, and `why` it is below 1.
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


Bound = Literal["nobody waits", "the rate", "the active shoppers", "the stock"]


def bound_by(standing: Standing, *, active_most: int) -> Bound:
    """What keeps the next shopper out."""
    if not standing.waiting:
        return "nobody waits"
    if standing.stock is not None and standing.stock <= standing.active - standing.bought:
        return "the stock"
    if standing.active >= max(1, math.floor(active_most * standing.factor)):
        return "the active shoppers"
    return "the rate"


def eta_s(visit: Visit) -> int | None:
    """In how many seconds the shopper's turn comes, at the rate of now; None when next to nothing moves."""
    if visit.per_s * ETA_MOST_S < visit.ahead + 1:
        return None
    return math.ceil((visit.ahead + 1) / visit.per_s)


def retry_after_s(eta: int | None, *, away_s: float, chance: float) -> int:
    """When to ask again: at the turn if it is near, else often enough to keep the place; `chance` in [0, 1) spreads shoppers."""
    most = max(RETRY_LEAST_S, min(RETRY_MOST_S, away_s / ASKS_PER_AWAY))
    wanted = most if eta is None else min(eta, most)
    return max(RETRY_LEAST_S, min(math.floor(most), round(wanted * (1 + RETRY_JITTER * (2 * chance - 1)))))


def session_life_s(session_s: float) -> float:
    """How long a pass is valid. It is renewed at a quarter of the session, so whoever is idle for a whole one keeps it."""
    return session_s * 1.25


class Pace:
    """The factor by which a room goes slower than it was set: halved on trouble, and slowly raised again (AIMD).

    Additive increase and multiplicative decrease let gateways that see the same trouble settle (Chiu and Jain, 1989).
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._adjusted_at = clock()
        self._halved_at = -math.inf
        self.factor = 1.0
        self.why = ""

    def adjust(self, *, shed_share: float, queue_age_s: float | None, queue_age_most_s: float) -> float:
        """Take in what is seen now, and return the factor.

        `shed_share` is the share of checkouts refused lately; `queue_age_s` how long the oldest order has waited.
        """
        now = self._clock()
        elapsed_s, self._adjusted_at = now - self._adjusted_at, now
        trouble = _trouble(shed_share, queue_age_s, queue_age_most_s)
        if trouble:
            self.why = trouble
            if now - self._halved_at >= HALVE_EVERY_S:
                self.factor, self._halved_at = max(FACTOR_LEAST, self.factor / 2), now
        elif self.factor < 1:
            self.factor = min(1.0, self.factor + elapsed_s / RECOVER_S)
            self.why = "recovering" if self.factor < 1 else ""
        return self.factor


def _trouble(shed_share: float, queue_age_s: float | None, queue_age_most_s: float) -> str:
    if shed_share > TROUBLED_SHARE:
        return "checkout is being shed"
    if queue_age_s is not None and queue_age_s > queue_age_most_s:
        return "orders wait too long"
    return ""
