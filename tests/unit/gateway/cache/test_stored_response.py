"""Header lines, tags, variants, and what they weigh."""

from __future__ import annotations

from gateway.cache.freshness import Terms, Validators
from gateway.cache.stored_response import (
    NOT_SHOWN,
    VARIANTS_MOST,
    Entry,
    Resource,
    fields_of,
    lines_updated,
    lines_without,
    selection,
    tags_of,
)


def entry(body: bytes = b"body", **more: frozenset[str]) -> Entry:
    return Entry(
        200, body, lines=b"", content_type=b"text/plain", terms=Terms(0, 60), validators=Validators(), born_at=0, **more
    )


def test_fields_are_read_from_finished_lines() -> None:
    assert fields_of(b'ETag: "a"\r\nVary: A\r\nvary:B \r\nX:\r\n') == {"etag": ['"a"'], "vary": ["A", "B"], "x": [""]}
    assert fields_of(b"") == {}


def test_lines_are_left_out_in_any_case() -> None:
    assert lines_without(b"A: 1\r\nDATE: x\r\ncache-tag: y\r\nB: 2\r\n", NOT_SHOWN) == b"A: 1\r\nB: 2\r\n"


def test_a_304_replaces_the_lines_it_has() -> None:
    stored = b"A: 1\r\nB: 2\r\nContent-Encoding: br\r\n"
    fresh = b"b: 3\r\nB: 4\r\nC: 5\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n"
    assert lines_updated(stored, fresh) == b"A: 1\r\nContent-Encoding: br\r\nb: 3\r\nB: 4\r\nC: 5\r\n"


def test_tags_are_separated_by_spaces_or_by_commas() -> None:
    assert tags_of({"surrogate-key": ["a  b", "c"], "cache-tag": ["d, old sale", ",e"]}) == {
        "a",
        "b",
        "c",
        "d",
        "old sale",
        "e",
    }


def test_a_selection_tells_a_field_that_is_empty_from_one_that_is_not_there() -> None:
    assert selection(("a", "b", "c"), {"a": " x ", "b": ""}) == ("x", "", None)


def test_a_resource_keeps_so_many_variants_and_so_many_bytes() -> None:
    resource = Resource(("a",))
    for number in range(VARIANTS_MOST + 5):
        resource.add((str(number),), entry(), most_bytes=10**9)
    assert len(resource.entries) == VARIANTS_MOST
    assert resource.find({"a": "0"}) is None
    resource.add(("large",), entry(b"x" * 10_000), most_bytes=12_000)
    assert [*resource.entries] == [("large",)]
    assert resource.size > 10_000


def test_an_expired_entry_counts_its_stale_time_from_then() -> None:
    kept = entry()
    kept.expire(10.0)
    assert kept.terms.lifetime_s == 10
    assert kept.fresh_until == 10
    assert kept.ttl(12.0) == -2
    kept.expire(30.0)
    assert kept.terms.lifetime_s == 10
