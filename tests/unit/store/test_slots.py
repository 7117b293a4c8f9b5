from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from store.slots import slot_of


@given(st.text(alphabet=st.sampled_from("{}ab é"), max_size=12) | st.text(max_size=40))
def test_slots_are_those_of_the_published_function(key: str) -> None:
    assert slot_of(key) == slot_of(key.encode()) == key_slot(key.encode())


def test_numbers_are_keys_as_they_are_sent() -> None:
    assert slot_of(17) == slot_of("17")
