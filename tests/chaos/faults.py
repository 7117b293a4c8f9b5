"""Faults of a running shop, one after the other, chosen by a seed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from tests.chaos.shop import ChaosShop
from tests.e2e.running_shop import eventually
from tests.small_disk import fill, make_room

# A paused process, a full disk or a service that is away comes back within this time.
LONGEST_S: Final = 20.0


class Fault(NamedTuple):
    """A kind of fault, and how long it lasts where it does."""

    kind: str
    lasts_s: float

    def __str__(self) -> str:
        return f"{self.kind} ({self.lasts_s:.1f} s)"


def plan(rng: random.Random, count: int, *, longest_s: float = LONGEST_S, kinds: Sequence[str] = ()) -> list[Fault]:
    """So many faults: each kind as often as the others, in a random order."""
    names = list(kinds or KINDS)
    turns = [names[number % len(names)] for number in range(count)]
    rng.shuffle(turns)
    # Most are short, so that there is time for many.
    return [Fault(kind, 1.0 + (longest_s - 1.0) * rng.random() ** 3) for kind in turns]


def strike(shop: ChaosShop, fault: Fault, rng: random.Random) -> None:
    """Bring the fault about, end it, and wait until the shop has recovered from it."""
    KINDS[fault.kind](shop, fault.lasts_s, rng)
    eventually(shop.is_well)


def _kill(find: Callable[[ChaosShop], list[int]]) -> Callable[[ChaosShop, float, random.Random], None]:
    def kill(shop: ChaosShop, _lasts_s: float, rng: random.Random) -> None:
        os.kill(rng.choice(eventually(lambda: find(shop))), signal.SIGKILL)

    return kill


def _pause(find: Callable[[ChaosShop], list[int]]) -> Callable[[ChaosShop, float, random.Random], None]:
    def pause(shop: ChaosShop, lasts_s: float, rng: random.Random) -> None:
        pid = rng.choice(eventually(lambda: find(shop)))
        os.kill(pid, signal.SIGSTOP)
        time.sleep(lasts_s)
        with suppress(ProcessLookupError):  # its supervisor may have replaced it
            os.kill(pid, signal.SIGCONT)

    return pause


def _cut_power(shop: ChaosShop, _lasts_s: float, _rng: random.Random) -> None:
    shop.cut_power()


def _fill_disk(shop: ChaosShop, lasts_s: float, _rng: random.Random) -> None:
    disk: Path = shop.disk
    fill(disk)
    time.sleep(lasts_s)
    make_room(disk)


def _payment_away(shop: ChaosShop, lasts_s: float, _rng: random.Random) -> None:
    shop.payment_is_away = True
    time.sleep(lasts_s)
    shop.payment_is_away = False


KINDS: Final[dict[str, Callable[[ChaosShop, float, random.Random], None]]] = {
    "worker killed": _kill(ChaosShop.workers),
    "worker paused": _pause(ChaosShop.workers),
    "store killed": _kill(ChaosShop.stores),
    "store paused": _pause(ChaosShop.stores),
    "control process killed": _kill(ChaosShop.controls),
    "control process paused": _pause(ChaosShop.controls),
    "power cut": _cut_power,
    "disk full": _fill_disk,
    "payment away": _payment_away,
}
