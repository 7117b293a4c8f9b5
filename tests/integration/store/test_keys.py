"""The table of keys names every key that an adapter uses, and each of its rows is true."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from store import Client
from store.keys import KEYS, kind_of
from tests.integration.store.key_faults import key_faults
from tests.integration.store.test_slots import SlotStore, Uses

PAGE = Path(__file__).parents[3] / "docs/store.md"
# The keys that the uses themselves choose.
OF_THE_TEST = {b"key", b"a lease"}
# The uses run no search module, no delivery of webhooks, no probes and no checks of the start.
UNUSED = {
    *("search documents", "search numbers", "search imports", "search feed"),
    *("webhook log", "noticed loss", "probe", "node probe", "permission check", "secret", "partitions"),
}


class KeyStore(SlotStore):
    """A store that notes each key of each call."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.keys: set[bytes] = set()

    def run(self, script: Any, keys: Any, args: Any = ()) -> Any:
        self.keys.update(key if isinstance(key, bytes) else str(key).encode() for key in keys)
        return super().run(script, keys, args)

    async def all_keys(self) -> set[bytes]:
        """The keys of the scripts and of the commands."""
        found = set(self.keys)
        for command in self.commands:
            found.update(await self._keys_of(command))
        return found


@pytest.mark.parametrize("is_cluster", [False, True])
async def test_every_key_that_an_adapter_uses_is_in_the_table_and_every_row_is_used(
    store: Client, is_cluster: bool
) -> None:
    used = KeyStore(store)
    await Uses(used, is_cluster=is_cluster).all()

    keys = await used.all_keys() - OF_THE_TEST
    assert sorted(key for key in keys if kind_of(key) is None) == []
    names = {kind.name for key in keys if (kind := kind_of(key)) is not None}
    assert {kind.name for kind in KEYS} - names == UNUSED


async def test_what_all_adapters_leave_behind_is_as_the_table_says(store: Client) -> None:
    await Uses(SlotStore(store), is_cluster=False).all()
    await store.execute("DEL", *OF_THE_TEST)
    assert await key_faults(store) == []


async def test_a_key_that_breaks_the_table_is_found(store: Client) -> None:
    await store.execute("SET", "of somebody else", 1)
    await store.execute("SET", "peakgate:probe", 1)
    await store.execute("SET", "peakgate:partitions", "9" * 9)
    await store.execute("SET", "catalog:changes", 1)
    assert await key_faults(store) == [
        "b'catalog:changes' is a string, not a stream",
        "b'of somebody else' is not in the table of store/keys.py",
        "b'peakgate:partitions' has 9 members or bytes, more than 8",
        "b'peakgate:probe' has no expiry, against the table",
    ]


@pytest.mark.parametrize("owner", sorted({kind.owner for kind in KEYS}))
def test_each_owner_is_a_module_that_names_the_key(owner: str) -> None:
    text = Path(str(importlib.import_module(owner).__file__)).read_text()
    for kind in KEYS:
        # `{<pp>}status:<status>` is `status:` in the source.
        literals = [part for part in re.split(r"<[a-z]+>|[{}:]+", kind.pattern) if len(part) > 2 and part.isalpha()]
        if kind.owner == owner and kind.name not in {"node probe", "noticed loss", "rate limit"}:
            assert all(part in text for part in literals), (kind, literals)


def test_the_page_has_the_table() -> None:
    rows = [f"| `{kind.pattern}` | {kind.type} | `{kind.owner}` | {kind.life} | {kind.bound} |" for kind in KEYS]
    page = PAGE.read_text().splitlines()
    start = page.index("| --- | --- | --- | --- | --- |") + 1
    assert page[start : start + len(rows) + 1] == [*rows, ""]
