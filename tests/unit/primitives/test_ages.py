from __future__ import annotations

from primitives.ages import Ages


def test_an_age_begins_when_this_process_sees_the_thing_first() -> None:
    now = 100.0
    ages = Ages[str](lambda: now)
    ages.update(["a"])
    now = 104.0
    ages.update(["a", "b"])
    now = 105.0
    assert ages.is_older("a", 5.0)
    assert not ages.is_older("b", 5.0)


def test_what_was_gone_meanwhile_begins_again() -> None:
    now = 0.0
    ages = Ages[str](lambda: now)
    ages.update(["a"])
    ages.update([])
    now = 10.0
    ages.update(["a"])
    assert not ages.is_older("a", 5.0)
