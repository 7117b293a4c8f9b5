from __future__ import annotations

from gateway.auth.recent import Recent


def test_what_was_put_last_is_here_and_what_was_put_first_is_not() -> None:
    recent: Recent[int, str] = Recent(10)
    for number in range(100):
        recent.put(number, f"the {number}")
    assert recent.get(99) == "the 99"
    assert recent.get(0) is None
    assert len(recent) <= 10


def test_what_is_used_stays() -> None:
    recent: Recent[int, str] = Recent(10)
    recent.put(-1, "kept")
    for number in range(100):
        recent.put(number, "passing by")
        assert recent.get(-1) == "kept"


def test_entries_weigh_what_they_are_said_to() -> None:
    recent: Recent[str, str] = Recent(100, weigh=lambda key, value: len(key) + len(value))
    recent.put("a", "x" * 60)
    assert recent.get("a") is None
    for number in range(1000):
        recent.put(str(number), "x" * 20)
        assert sum(len(key) + len(value) for key, value in recent.items()) <= 100


def test_another_value_takes_the_place_of_the_one_before() -> None:
    recent: Recent[str, str] = Recent(4)
    for value in ("first", "second", "third"):
        recent.put("key", value)
    assert list(recent.items()) == [("key", "third")]


def test_what_is_forgotten_is_gone_from_both_generations() -> None:
    recent: Recent[int, str] = Recent(4)
    for number in range(3):
        recent.put(number, "here")
    for number in range(3):
        recent.forget(number)
        recent.forget(number)
    assert list(recent.items()) == []
    recent.put(1, "here")
    recent.clear()
    assert recent.get(1) is None
