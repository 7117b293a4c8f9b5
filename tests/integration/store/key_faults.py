"""The keys of a store that break the table of keys."""

from __future__ import annotations

from typing import Any

from store import Store
from store.keys import COUNT_COMMANDS, kind_of


async def key_faults(store: Store) -> list[str]:
    """One line for each key that the table does not name, or that is not as the table says."""
    faults: dict[bytes, str | None] = {}
    cursor: Any = "0"
    while True:
        cursor, keys = await store.execute("SCAN", cursor, "COUNT", 1000)
        for key in keys:
            faults[key] = await _fault(store, key)
        if cursor == b"0":
            return [f"{key!r} {fault}" for key, fault in sorted(faults.items()) if fault is not None]


async def _fault(store: Store, key: bytes) -> str | None:
    actual, ttl_ms = (await store.execute("TYPE", key)).decode(), await store.execute("PTTL", key)
    if actual == "none":  # it has expired meanwhile
        return None
    kind = kind_of(key)
    if kind is None:
        return "is not in the table of store/keys.py"
    if actual != kind.type:
        return f"is a {actual}, not a {kind.type}"
    if kind.expires != (ttl_ms != -1) and ttl_ms != -2:
        return f"has {'no' if kind.expires else 'an'} expiry, against the table"
    count = await store.execute(COUNT_COMMANDS[kind.type], key)
    if kind.most is not None and count > kind.most:
        return f"has {count} members or bytes, more than {kind.most}"
    return None
