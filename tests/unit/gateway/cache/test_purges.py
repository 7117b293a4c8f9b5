"""What purges cover, and which came after what."""

from __future__ import annotations

import pytest

from gateway.cache.purges import Purge, Purges, Verdict, covers, purge_of

KEY = "/shoes/1?x=1\nshop.example\nhttps"


@pytest.mark.parametrize(
    ("named", "purge"),
    [
        ({"url": "/a?b=1#c"}, Purge("url", "/a?b=1")),
        ({"url": "https://Shop.example"}, Purge("url", "/", "shop.example")),
        ({"prefix": "http://shop.example:8080/a/"}, Purge("prefix", "/a/", "shop.example:8080")),
        ({"tag": " shoe "}, Purge("tag", "shoe")),
    ],
)
def test_a_purge_is_read_from_an_address_or_a_tag(named: dict[str, str], purge: Purge) -> None:
    assert purge_of(**named) == purge  # type: ignore[arg-type] # no `soft` among them


@pytest.mark.parametrize(
    ("purge", "does"),
    [
        (Purge("url", "/shoes/1?x=1"), True),
        (Purge("url", "/shoes/1"), False),
        (Purge("url", "/shoes/1?x=1", "shop.example"), True),
        (Purge("url", "/shoes/1?x=1", "other.example"), False),
        (Purge("prefix", "/shoes"), True),
        (Purge("prefix", "/hats"), False),
        (Purge("prefix", "/", "other.example"), False),
        (Purge("tag", "shoe"), True),
        (Purge("tag", "hat"), False),
    ],
)
def test_what_a_purge_covers(purge: Purge, does: bool) -> None:
    assert covers(purge, KEY, ["shoe"]) is does
    purges = Purges()
    purges.note(purge, 5)
    assert purges.verdict(KEY, ["shoe"], 4) is (Verdict.VOID if does else Verdict.UNTOUCHED)
    assert purges.verdict(KEY, ["shoe"], 5) is Verdict.UNTOUCHED


def test_a_hard_purge_weighs_more_than_a_soft_one() -> None:
    purges = Purges()
    purges.note(Purge("tag", "shoe", soft=True), 7)
    assert purges.verdict(KEY, ["shoe"], 4) is Verdict.STALE
    purges.note(Purge("prefix", "/shoes"), 6)
    assert purges.verdict(KEY, ["shoe"], 4) is Verdict.VOID
    assert purges.verdict(KEY, ["shoe"], 6) is Verdict.STALE


def test_what_is_older_than_the_oldest_purge_remembered_is_not_trusted() -> None:
    purges = Purges(most=2)
    for position in range(1, 5):
        purges.note(Purge("tag", f"t{position}"), position)
    assert purges.floor == 2
    assert purges.verdict(KEY, [], 1) is Verdict.VOID
    assert purges.verdict(KEY, [], 2) is Verdict.UNTOUCHED


def test_the_same_purge_again_is_remembered_once_and_as_the_latest() -> None:
    purges = Purges(most=2)
    purges.note(Purge("tag", "a"), 1)
    purges.note(Purge("tag", "b"), 2)
    purges.note(Purge("tag", "a"), 3)
    purges.note(Purge("tag", "c"), 4)
    assert purges.floor == 2
    assert purges.verdict(KEY, ["a"], 2) is Verdict.VOID
