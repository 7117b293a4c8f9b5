"""Hot keys, as far as the servers of a store count the use of keys, and the SKUs with most orders in flight."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from store import ReplyError, Store
from store.slots import slot_of

HOTTEST: Final = 10
# Hash tags that are shown of a slot.
_TAGS: Final = 3
_HOLDS: Final = "holds"
NOT_COUNTED: Final = (
    "not measurable: a server that is no cluster counts the use of keys with a maxmemory-policy of LFU only, which evicts; a cluster of"
    " Valkey 8 counts it by slot"
)
NO_SLOT_STATS: Final = "not measurable: this version has no CLUSTER SLOT-STATS, which Valkey has from 8.0 on"
SLOTS_NOT_COUNTED: Final = (
    "not measurable: with cluster-slot-stats-enabled yes, each server of this cluster counts the time of its slots"
)

Ask = Callable[..., Awaitable[Any]]


class HotKey(msgspec.Struct):
    """A key, or a slot with some of its hash tags, with its counter.

    The counter is the logarithmic one of LFU, the microseconds of a slot since its server started, or the orders in flight of a SKU.
    """

    name: str
    kind: str
    counter: int
    tags: list[str] = []


class HotKeys:
    """Finds them while the keys of all servers are looked at. `ask` is a call that replies None where it may not be made."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._keys: list[tuple[int, str, str]] = []
        self._crowded: list[tuple[int, str, str]] = []
        self._slots: dict[int, HotKey] = {}
        self._has_lfu = False
        self.note: str | None = None

    async def begin(self, servers: Sequence[Store], infos: Sequence[Mapping[str, str]]) -> None:
        """Choose between the counts of keys and of slots, as the servers have them."""
        self._has_lfu = all("lfu" in info.get("maxmemory_policy", "") for info in infos)
        if self._has_lfu:
            return
        if any(info.get("cluster_enabled") != "1" for info in infos):
            self.note = NOT_COUNTED
            return
        slots: list[tuple[int, int]] = []
        for server in servers:
            slots += await self._busiest(server)
        busiest = heapq.nlargest(HOTTEST, ((used_us, slot) for slot, used_us in slots if used_us))
        self._slots = {slot: HotKey(f"slot {slot}", "slot", used_us) for used_us, slot in busiest}

    async def _busiest(self, server: Store) -> Sequence[tuple[int, int]]:
        try:
            reply = await server.execute("CLUSTER", "SLOT-STATS", "ORDERBY", "CPU-USEC", "LIMIT", HOTTEST, "DESC")
        except ReplyError as error:
            self.note = _reason(error)
            return ()
        return [(slot, _pairs(stats)[b"cpu-usec"]) for slot, stats in reply]

    async def look(self, server: Store, key: bytes, kind: str) -> None:
        """Take a key into account."""
        name = key.decode(errors="backslashreplace")
        if kind == _HOLDS:
            _keep(self._crowded, await self._ask("crowded SKUs", server, "HLEN", key), name[1:].rpartition("}")[0])
        if self._has_lfu:
            _keep(self._keys, await self._ask("hot keys", server, "OBJECT", "FREQ", key), name, kind)
        elif self._slots and (slot := self._slots.get(slot_of(key))) is not None:
            tag = f"{{{_tag(name)}}}" if _tag(name) else kind
            if tag not in slot.tags and len(slot.tags) < _TAGS:
                slot.tags.append(tag)

    @property
    def hottest(self) -> list[HotKey]:
        """The hottest first."""
        return [HotKey(name, kind, counter) for counter, name, kind in sorted(self._keys, reverse=True)] or list(
            self._slots.values()
        )

    @property
    def crowded(self) -> list[HotKey]:
        """The SKUs with most orders in flight, which hold them."""
        return [HotKey(name, "sku", counter) for counter, name, _ in sorted(self._crowded, reverse=True)]


def _keep(largest: list[tuple[int, str, str]], counter: int | None, name: str, kind: str = "") -> None:
    if counter is not None:
        heapq.heappush(largest, (counter, name, kind))
        if len(largest) > HOTTEST:
            heapq.heappop(largest)


def _tag(name: str) -> str:
    return name.partition("{")[2].partition("}")[0]


def _reason(error: ReplyError) -> str:
    text = str(error).lower()
    if "sort metric" in text:
        return SLOTS_NOT_COUNTED
    return NO_SLOT_STATS if "unknown" in text else str(error)


def _pairs(flat: Any) -> Mapping[bytes, int]:
    return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
