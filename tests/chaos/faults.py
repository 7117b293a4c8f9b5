"""Faults of a running shop, one after the other, chosen by a seed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.harness.store_cluster import StoreCluster
from benchmarks.harness.store_pair import StoreServer
from store.slots import SLOTS
from tests.chaos.shop import ChaosShop
from tests.e2e.running_shop import eventually
from tests.network import NetworkedServer
from tests.sentinels import Sentinel, Watched
from tests.small_disk import fill, make_room

# A paused process, a full disk or a service that is away comes back within this time.
LONGEST_S: Final = 20.0
# A stepped clock is wrong by no more than this: longer than leases, holds and the life of a payment's idempotency key.
FARTHEST_S: Final = 2 * 24 * 3600

# Brings a fault of so many seconds about, and ends it.
Strike = Callable[[ChaosShop, float, random.Random], None]


class Fault(NamedTuple):
    """A kind of fault, how long it lasts where it does, and what brings it about and ends it."""

    kind: str
    lasts_s: float
    strike: Strike

    def __str__(self) -> str:
        return f"{self.kind} ({self.lasts_s:.1f} s)"


def plan(rng: random.Random, count: int, kinds: Mapping[str, Strike], *, longest_s: float = LONGEST_S) -> list[Fault]:
    """So many faults: each kind as often as the others, in a random order."""
    names = list(kinds)
    turns = [names[number % len(names)] for number in range(count)]
    rng.shuffle(turns)
    # Most are short, so that there is time for many.
    return [Fault(kind, 1.0 + (longest_s - 1.0) * rng.random() ** 3, kinds[kind]) for kind in turns]


def strike(shop: ChaosShop, fault: Fault, rng: random.Random) -> None:
    """Bring the fault about, end it, and wait until the shop has recovered from it."""
    fault.strike(shop, fault.lasts_s, rng)
    eventually(shop.is_well)


def _kill(find: Callable[[ChaosShop], list[int]]) -> Strike:
    def kill(shop: ChaosShop, _lasts_s: float, rng: random.Random) -> None:
        os.kill(rng.choice(eventually(lambda: find(shop))), signal.SIGKILL)

    return kill


def _pause(find: Callable[[ChaosShop], list[int]]) -> Strike:
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


def _step_clock(shop: ChaosShop, lasts_s: float, rng: random.Random) -> None:
    pids = eventually(lambda: shop.worker_pids() + shop.control_pids())
    shop.clock.step(rng.choice(pids), rng.choice((-1, 1)) * round(FARTHEST_S ** rng.random()))
    time.sleep(lasts_s)
    shop.clock.mend()


def _payment_away(shop: ChaosShop, lasts_s: float, _rng: random.Random) -> None:
    shop.payment_is_away = True
    time.sleep(lasts_s)
    shop.payment_is_away = False


def _queue_away(shop: ChaosShop, lasts_s: float, _rng: random.Random) -> None:
    assert shop.queue is not None
    shop.queue.be_away()
    time.sleep(lasts_s)
    shop.queue.come_back()


def _queue_silent(shop: ChaosShop, lasts_s: float, _rng: random.Random) -> None:
    assert shop.queue is not None
    shop.queue.pause()
    time.sleep(lasts_s)
    shop.queue.go_on()


def _kill_server(find: Callable[[Any, random.Random], StoreServer | Sentinel]) -> Strike:
    def kill(shop: ChaosShop, lasts_s: float, rng: random.Random) -> None:
        server = find(shop.servers, rng)
        server.kill()
        time.sleep(lasts_s)
        server.start()

    return kill


def _pause_server(find: Callable[[Any, random.Random], StoreServer | Sentinel]) -> Strike:
    def pause(shop: ChaosShop, lasts_s: float, rng: random.Random) -> None:
        server = find(shop.servers, rng)
        server.signal(signal.SIGSTOP)
        time.sleep(lasts_s)
        server.signal(signal.SIGCONT)

    return pause


def _primary(pair: Watched, _rng: random.Random) -> StoreServer:
    return pair.primary


def _replica(pair: Watched, _rng: random.Random) -> StoreServer:
    return pair.replica


def _sentinel(pair: Watched, rng: random.Random) -> Sentinel:
    return rng.choice(pair.sentinels)


def _server(cluster: StoreCluster, rng: random.Random) -> StoreServer:
    return rng.choice(cluster.servers)


def _fail_over(shop: ChaosShop, _lasts_s: float, rng: random.Random) -> None:
    cluster = _cluster(shop)
    cluster.fail_over(cluster.replica_of(rng.choice(cluster.primaries)))


def _move_slots(shop: ChaosShop, _lasts_s: float, rng: random.Random) -> None:
    """A part of a primary's slots as the servers move them, or some slots key by key."""
    cluster = _cluster(shop)
    slot = rng.randrange(SLOTS)
    source = cluster.primary_of(slot)
    target = rng.choice([each for each in cluster.primaries if each is not source])
    last = next((at for at in range(slot, SLOTS - 1) if cluster.primary_of(at + 1) is not source), SLOTS - 1)
    if rng.random() < 0.5:
        cluster.migrate_slots(slot, min(last, slot + rng.randrange(500)), target)
    else:
        for each in range(slot, min(last, slot + 8) + 1):
            cluster.move_slot(each, target)


def _cut_link(cut: Callable[[NetworkedServer], None]) -> Strike:
    """The link of one server. Shorter than the servers take to elect another."""

    def cut_and_heal(shop: ChaosShop, lasts_s: float, rng: random.Random) -> None:
        server = rng.choice(_cluster(shop).servers)
        assert isinstance(server, NetworkedServer)
        cut(server)
        time.sleep(lasts_s)
        server.heal()

    return cut_and_heal


def _cluster(shop: ChaosShop) -> StoreCluster:
    assert isinstance(shop.servers, StoreCluster)
    return shop.servers


PROCESSES: Final[Mapping[str, Strike]] = {
    "worker killed": _kill(ChaosShop.worker_pids),
    "worker paused": _pause(ChaosShop.worker_pids),
    "control process killed": _kill(ChaosShop.control_pids),
    "control process paused": _pause(ChaosShop.control_pids),
    "power cut": _cut_power,
    "clock stepped": _step_clock,
    "payment away": _payment_away,
}
EMBEDDED: Final[Mapping[str, Strike]] = {
    **PROCESSES,
    "store killed": _kill(ChaosShop.store_pids),
    "store paused": _pause(ChaosShop.store_pids),
    "disk full": _fill_disk,
}
QUEUED: Final[Mapping[str, Strike]] = {
    **EMBEDDED,
    "queue away": _queue_away,
    "queue silent": _queue_silent,
}
WATCHED: Final[Mapping[str, Strike]] = {
    **PROCESSES,
    "primary killed": _kill_server(_primary),
    "primary paused": _pause_server(_primary),
    "replica killed": _kill_server(_replica),
    "replica paused": _pause_server(_replica),
    "Sentinel killed": _kill_server(_sentinel),
    "Sentinel paused": _pause_server(_sentinel),
}
# Nobody is promoted in place of a server that is killed or cut off: it comes back with all that it had written.
CLUSTER: Final[Mapping[str, Strike]] = {
    **PROCESSES,
    "server killed": _kill_server(_server),
    "server paused": _pause_server(_server),
    "server cut off from the others": _cut_link(NetworkedServer.cut_from_servers),
    "server cut off from the gateway": _cut_link(NetworkedServer.cut_from_clients),
    "planned failover": _fail_over,
    "slots moved": _move_slots,
}
