from __future__ import annotations

from primitives.bounded_map import BoundedMap


def test_the_newest_entry_is_there_and_the_oldest_is_evicted() -> None:
    recent: BoundedMap[int, str] = BoundedMap(10)
    for number in range(100):
        recent.put(number, f"the {number}")
    assert recent.get(99) == "the 99"
    assert recent.get(0) is None
    assert len(recent) <= 10


def test_an_entry_that_is_used_stays() -> None:
    recent: BoundedMap[int, str] = BoundedMap(10)
    recent.put(-1, "used")
    for number in range(100):
        recent.put(number, "never used again")
        assert recent.get(-1) == "used"


def test_the_weights_of_all_entries_stay_within_the_bound() -> None:
    recent: BoundedMap[str, str] = BoundedMap(100, weigh=lambda key, value: len(key) + len(value))
    recent.put("a", "x" * 60)
    assert recent.get("a") is None
    for number in range(1000):
        recent.put(str(number % 30), "x" * (number % 50))
        assert sum(len(key) + len(value) for key, value in recent.items()) <= 100


def test_a_value_replaces_the_one_before() -> None:
    recent: BoundedMap[str, str] = BoundedMap(4)
    for value in ("first", "second", "third"):
        recent.put("key", value)
    assert list(recent.items()) == [("key", "third")]


def test_replacing_an_entry_by_one_too_heavy_removes_it() -> None:
    recent: BoundedMap[str, str] = BoundedMap(10, weigh=lambda _key, value: len(value))
    recent.put("key", "x")
    recent.put("key", "x" * 6)
    assert "key" not in recent


def test_discarded_entries_are_gone_from_both_generations() -> None:
    recent: BoundedMap[int, str] = BoundedMap(4)
    for number in range(3):
        recent.put(number, "here")
    assert all(number in recent for number in range(3))
    assert [recent.discard(number) for number in range(3)] == ["here"] * 3
    assert recent.discard(0) is None
    assert list(recent.items()) == []
    recent.put(1, "here")
    recent.clear()
    assert recent.get(1) is None


def test_discarding_makes_room() -> None:
    evicted: list[int] = []
    recent: BoundedMap[int, str] = BoundedMap(4, on_evict=lambda key, _value: evicted.append(key))
    for number in range(100):
        recent.put(number, "here")
        recent.discard(number)
    assert evicted == []


def test_each_evicted_entry_is_reported_once() -> None:
    evicted: list[int] = []
    recent: BoundedMap[int, str] = BoundedMap(10, on_evict=lambda key, _value: evicted.append(key))
    for number in range(100):
        recent.put(number, "here")
    assert sorted([*evicted, *dict(recent.items())]) == list(range(100))
