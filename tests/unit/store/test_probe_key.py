"""The key with which a primary of a cluster is probed."""

from __future__ import annotations

from store.cluster import probe_key
from store.slots import SLOTS, slot_of

PRESENT = "peakgate:probe"


def test_a_key_whose_slot_has_moved_is_replaced_by_any_of_the_primary() -> None:
    # Slots that move one by one leave many ranges of one slot.
    owners = [slot % 2 for slot in range(SLOTS)]
    found = {owner: probe_key(PRESENT, owners, owner) for owner in (0, 1)}
    assert [owners[slot_of(found[owner])] for owner in (0, 1)] == [0, 1]
    assert PRESENT in found.values(), "its owner has no reason to take another one"
    assert {key.rpartition(":")[2] for key in found.values()} <= {"probe", *map(str, range(1, 100))}
