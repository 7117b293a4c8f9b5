"""CPU time of cart reads and adds through the cluster's client beside the standalone one: `make bench-cluster`.

Both clients are measured in turn in each round, so that the ratio does not depend on the load of the machine; the CPU time is that of this process.
Then clusters of 1, 2 and 3 primaries, in the same run: the CPU time of a call in this process and in the busiest primary. The larger one says how many
calls a second there can be: primaries are added until it is that of the edge. Two cores cannot show these rates themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.harness.processes import cpu_time
from benchmarks.harness.store_cluster import store_cluster
from benchmarks.harness.store_pair import store_server
from benchmarks.replay.tables import table
from cart.ids import new_cart_id
from cart.model import Cart, Limits, Line, Sku
from cart.ports import Write
from cart.redis_carts import RedisCarts
from gateway.process.worker import GC_THRESHOLDS
from store import open_store_client

IN_FLIGHT: Final = 64
LIMITS: Final = Limits(max_quantity=1_000_000)
NOW: Final = 1_800_000_000_000
PRIMARIES: Final = (1, 2, 3)
Call = Callable[[int], Awaitable[object]]


class Carts:
    """Carts on one store, as many as calls are in flight."""

    def __init__(self, carts: RedisCarts) -> None:
        self._carts = carts
        self._ids = [new_cart_id() for _ in range(IN_FLIGHT)]
        self._line = Line(Sku("85123A"), 1, 255)
        self.calls: dict[str, Call] = {"read": self.read, "add": self.add}

    async def fill(self) -> None:
        """Make them."""
        for cart_id in self._ids:
            cart = Cart(id=cart_id, currency="GBP", created_at=NOW, updated_at=NOW)
            await self._carts.create(cart, limits=LIMITS)

    async def read(self, number: int) -> object:
        """Read one of them."""
        return await self._carts.read(self._ids[number])

    async def add(self, number: int) -> object:
        """Add to a line of one of them."""
        write = Write(now=NOW, limits=LIMITS)
        return await self._carts.add_line(self._ids[number], self._line, currency="GBP", write=write)


async def open_carts(url: str, stack: AsyncExitStack) -> Carts:
    """Carts on the store at `url`."""
    client = await open_store_client(url, deadline_s=10.0)
    stack.push_async_callback(client.close)
    carts = Carts(RedisCarts(client))
    await carts.fill()
    return carts


async def measure(call: Call, rounds: int) -> tuple[float, float]:
    """CPU seconds of this process and seconds for a call, `IN_FLIGHT` at once."""
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(rounds):
        await asyncio.gather(*map(call, range(IN_FLIGHT)))
    calls = rounds * IN_FLIGHT
    return (time.process_time() - cpu) / calls, (time.perf_counter() - began) / calls


async def run(rounds: int, repeats: int, folder: Path) -> None:
    """Print both tables."""
    gc.set_threshold(*GC_THRESHOLDS)
    rates: list[tuple[str, ...]] = []
    for primaries in PRIMARIES:
        with store_cluster(folder / f"cluster-{primaries}", primaries=primaries, replicas=False) as cluster:
            async with AsyncExitStack() as stack:
                on_cluster = await open_carts(cluster.url, stack)
                pids = [server.pid for server in cluster.servers]
                rates += [await growth(on_cluster, name, pids, rounds * 4) for name in ("read", "add")]
                if primaries == PRIMARIES[-1]:
                    with store_server(folder / "alone") as alone:
                        print(await compare(await open_carts(alone.url, stack), on_cluster, rounds, repeats))
    head = ("call", "primaries", "edge (us)", "busiest primary (us)", "calls/s of the primaries", "calls/s here")
    print(table(head, rates))


async def growth(carts: Carts, name: str, primaries: Sequence[int], rounds: int) -> tuple[str, ...]:
    """A row of the second table."""
    before = [cpu_time(pid).total_s for pid in primaries]
    own_s, seconds = await measure(carts.calls[name], rounds)
    spent = [cpu_time(pid).total_s - since for pid, since in zip(primaries, before, strict=True)]
    busiest_s = max(spent) / (rounds * IN_FLIGHT)
    return (
        name,
        str(len(primaries)),
        *(f"{each * 1e6:.2f}" for each in (own_s, busiest_s)),
        *(f"{1 / each:,.0f}" for each in (busiest_s, seconds)),
    )


async def compare(alone: Carts, on_cluster: Carts, rounds: int, repeats: int) -> str:
    """The CPU time of each call on both, and the median of their ratios."""
    rows: list[tuple[str, ...]] = []
    for name in alone.calls:
        pairs = [
            ((await measure(alone.calls[name], rounds))[0], (await measure(on_cluster.calls[name], rounds))[0])
            for _ in range(repeats)
        ]
        medians = [statistics.median(each) * 1e6 for each in zip(*pairs, strict=True)]
        ratio = statistics.median(clustered / single for single, clustered in pairs)
        rows.append((name, *(f"{each:.2f}" for each in medians), f"{ratio:.3f}"))
    return table(("call", "standalone (us)", "cluster (us)", "ratio"), rows)


def main() -> None:
    """Entry point of `make bench-cluster`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400, help="of 64 calls each")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(run(options.rounds, options.repeats, Path(folder)))


if __name__ == "__main__":
    main()
