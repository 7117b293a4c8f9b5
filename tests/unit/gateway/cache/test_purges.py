"""Purges: the responses they cover, and their order."""

from __future__ import annotations

import pytest

from gateway.cache.purge import Purge, covers, parse_purge
from gateway.cache.purge_history import PurgeHistory, Verdict

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
def test_a_purge_is_parsed_from_an_address_or_a_tag(named: dict[str, str], purge: Purge) -> None:
    assert parse_purge(**named) == purge  # type: ignore[arg-type] # no `soft` among them


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"url": "/a", "tag": "b"},
        {"url": ""},
        {"url": " "},
        {"tag": "\t"},
        {"tag": "a\x00b"},
        {"tag": "\ud800"},
        {"url": "shoes"},
        {"url": "shop.example/shoes"},
        {"url": "//shop.example/shoes"},
        {"url": "ftp://shop.example/"},
        {"url": "https://"},
        {"url": "https:///shoes"},
        {"url": "http://[::1/shoes"},
        {"url": "http://shop.example:port/"},
        {"url": "http://user@shop.example/"},
        {"prefix": "/a b"},
        {"prefix": "/a\nb"},
    ],
)
def test_a_malformed_purge_is_an_error_with_a_reason(named: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_purge(**named)  # type: ignore[arg-type] # no `soft` among them


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
def test_a_purge_covers_its_address_prefix_or_tag(purge: Purge, does: bool) -> None:
    assert covers(purge, KEY, ["shoe"]) is does
    history = PurgeHistory()
    history.add(purge, 5)
    assert history.verdict(KEY, ["shoe"], 4) is (Verdict.VOID if does else Verdict.UNTOUCHED)
    assert history.verdict(KEY, ["shoe"], 5) is Verdict.UNTOUCHED


def test_a_hard_purge_overrides_a_soft_one() -> None:
    history = PurgeHistory()
    history.add(Purge("tag", "shoe", soft=True), 7)
    soft = history.verdict(KEY, ["shoe"], 4)
    assert soft is Verdict.STALE
    history.add(Purge("prefix", "/shoes"), 6)
    hard = history.verdict(KEY, ["shoe"], 4)
    assert hard is Verdict.VOID
    assert hard > soft
    assert history.verdict(KEY, ["shoe"], 6) is Verdict.STALE


def test_a_response_older_than_the_oldest_remembered_purge_is_void() -> None:
    history = PurgeHistory(max_purges=4)
    for position in range(1, 6):
        history.add(Purge("tag", f"t{position}"), position)
    assert history.floor == 2
    assert history.verdict(KEY, [], 1) is Verdict.VOID
    assert history.verdict(KEY, [], 2) is Verdict.UNTOUCHED


def test_a_repeated_purge_is_remembered_once_at_its_latest_position() -> None:
    history = PurgeHistory(max_purges=4)
    history.add(Purge("tag", "a"), 1)
    history.add(Purge("tag", "b"), 2)
    history.add(Purge("tag", "a"), 3)
    history.add(Purge("tag", "c"), 4)
    history.add(Purge("tag", "d"), 5)
    assert history.floor == 0
    assert history.verdict(KEY, ["a"], 2) is Verdict.VOID
    assert history.verdict(KEY, ["a"], 3) is Verdict.UNTOUCHED


def test_the_floor_is_the_latest_position_of_the_forgotten_purges() -> None:
    history = PurgeHistory(max_purges=4)
    for position, tag in enumerate("abacde", 1):
        history.add(Purge("tag", tag), position)
    assert history.floor == 3
    assert history.verdict(KEY, ["a"], 2) is Verdict.VOID
    assert history.verdict(KEY, ["a"], 3) is Verdict.UNTOUCHED
