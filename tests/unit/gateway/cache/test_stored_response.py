"""Header blocks, tags, variants and their sizes."""

from __future__ import annotations

from typing import Any

from gateway.cache.header_block import NOT_SENT, parse_fields, tags_of, updated, without_fields
from gateway.cache.model import Freshness, Validators
from gateway.cache.stored_response import StoredResponse
from gateway.cache.variants import MAX_VARIANTS, Variants, selection


def entry(body: bytes = b"body", **more: Any) -> StoredResponse:
    return StoredResponse(
        200,
        body,
        header_block=b"",
        content_type=b"text/plain",
        freshness=Freshness(0, 60),
        validators=Validators(),
        born_at=0,
        **more,
    )


def test_fields_are_parsed_from_a_header_block() -> None:
    assert parse_fields(b'ETag: "a"\r\nVary: A\r\nvary:B \r\nX:\r\n') == {
        "etag": ['"a"'],
        "vary": ["A", "B"],
        "x": [""],
    }
    assert parse_fields(b"") == {}


def test_fields_are_removed_in_any_case() -> None:
    assert without_fields(b"A: 1\r\nSURROGATE-KEY: x\r\ncache-tag: y\r\nB: 2\r\n", NOT_SENT) == b"A: 1\r\nB: 2\r\n"


def test_a_304_replaces_its_fields() -> None:
    stored = b"A: 1\r\nB: 2\r\nContent-Encoding: br\r\n"
    fresh = b"b: 3\r\nB: 4\r\nC: 5\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n"
    assert updated(stored, fresh) == b"A: 1\r\nContent-Encoding: br\r\nb: 3\r\nB: 4\r\nC: 5\r\n"


def test_tags_are_separated_by_spaces_or_by_commas() -> None:
    assert tags_of({"surrogate-key": ["a  b", "c"], "cache-tag": ["d, old sale", ",e"]}) == {
        "a",
        "b",
        "c",
        "d",
        "old sale",
        "e",
    }


def test_a_selection_distinguishes_an_empty_field_from_an_absent_one() -> None:
    assert selection(("a", "b", "c"), {"a": " x ", "b": ""}) == ("x", "", None)


def test_variants_are_bounded_in_number_and_bytes() -> None:
    variants = Variants(("a",))
    for number in range(MAX_VARIANTS + 5):
        variants.add((str(number),), entry(), max_bytes=10**9)
    assert len(variants.by_selection) == MAX_VARIANTS
    assert variants.find({"a": "0"}) is None
    variants.add(("large",), entry(b"x" * 10_000), max_bytes=12_000)
    assert [*variants.by_selection] == [("large",)]
    assert variants.size > 10_000


def test_the_stale_time_of_an_expired_response_counts_from_then() -> None:
    stored = entry()
    stored.expire(10.0)
    assert stored.freshness.lifetime_s == 10
    assert stored.fresh_until == 10
    assert stored.ttl_s(12.0) == -2
    stored.expire(30.0)
    assert stored.freshness.lifetime_s == 10
