"""The decision whether a store can hold Peakgate's promises, from its own description (INFO)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

OLDEST: Final = {"redis": (7, 0), "valkey": (7, 2)}
NO_EVICTION: Final = "noeviction"


@dataclass(frozen=True, slots=True)
class Description:
    """The fields of INFO."""

    fields: Mapping[str, str]

    @classmethod
    def parse(cls, info: bytes | str) -> Description:
        """Read the reply to INFO."""
        text = info.decode() if isinstance(info, bytes) else info
        return cls(dict(line.split(":", 1) for line in text.splitlines() if ":" in line))

    @property
    def eviction_policy(self) -> str | None:
        """`maxmemory-policy`; None if the server does not say."""
        return self.fields.get("maxmemory_policy")

    @property
    def has_append_only_file(self) -> bool | None:
        """Whether writes go to an append-only file; None if the server does not say."""
        enabled = self.fields.get("aof_enabled")
        return None if enabled is None else enabled == "1"

    def version(self, name: str) -> tuple[int, ...] | None:
        """The version of `redis` or `valkey`; Valkey tells both its own and that of the Redis that it is compatible with."""
        found = self.fields.get(f"{name}_version")
        return None if found is None else tuple(int(part) for part in found.split(".")[:2])


def faults(store: Description, *, needs_file: bool, allows_eviction: bool) -> list[str]:
    """The reasons why this store must not be used, each with its remedy."""
    found = [_version_fault(store), None if allows_eviction else eviction_fault(store)]
    if needs_file and store.has_append_only_file is False:
        found.append("--durability aof needs a store with an append-only file (appendonly yes)")
    return [each for each in found if each is not None]


def warnings(store: Description, *, trusts_memory: bool) -> list[str]:
    """Facts that an operator should know, each with its remedy. `trusts_memory`: accepted orders are in its memory alone."""
    found = []
    if store.eviction_policy is None:
        found.append("the store does not say its maxmemory-policy; make sure that it is noeviction")
    elif (fault := eviction_fault(store)) is not None:
        found.append(f"{fault} (--allow-eviction is set)")
    if trusts_memory and store.has_append_only_file is False:
        found.append(
            "the store has no append-only file (appendonly no): when it restarts it may lose carts and accepted orders; "
            "set appendonly yes and start with --durability aof, or see docs/durability.md"
        )
    return found


def eviction_fault(store: Description) -> str | None:
    """Why the eviction policy of the store is a danger; None if it is not."""
    policy = store.eviction_policy
    if policy is None or policy == NO_EVICTION:
        return None
    endangered = (
        "carts and checkouts in progress, which expire," if policy.startswith("volatile") else "accepted orders"
    )
    return (
        f"the store has maxmemory-policy {policy}: when its memory is full it deletes {endangered} without a word; "
        f"set maxmemory-policy {NO_EVICTION}"
    )


def _version_fault(store: Description) -> str | None:
    for name, oldest in OLDEST.items():
        found = store.version(name)
        if found is not None and found < oldest:
            wanted, has = (".".join(map(str, number)) for number in (oldest, found))
            return f"the store is {name} {has}; {wanted} or newer is needed"
    return None
