"""The canonical form of a path: the spellings of the table in docs/http.md, and no more of a path than needed."""

from __future__ import annotations

import pytest

from gateway.http.canonical_path import canonical_host, canonical_path, has_ambiguous_segment


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("/", ""),
        ("/a", "/a"),
        ("/a/", "/a"),
        ("/a/B-c_d~e.f", "/a/b-c_d~e.f"),
        ("/.well-known/x", "/.well-known/x"),
        ("/v1.2/x", "/v1.2/x"),
        ("/a=b,c/x", "/a=b,c/x"),
        ("/a+b", "/a+b"),
        ("/a%20b", "/a b"),
        ("/caf%C3%89", "/caf\u00e9"),
        ("/cafe%CC%81", "/caf\u00e9"),
        ("/50%25-off", "/50%-off"),
        ("/;", ""),
        ("/a/.../b", "/a/b"),
        ("/%20/a", "/a"),
    ],
)
def test_a_path_has_one_canonical_form(path: str, canonical: str) -> None:
    assert canonical_path(path) == canonical
    assert canonical_path(canonical) == canonical


@pytest.mark.parametrize(
    "path",
    ["/..", "/a/..;x/b", "/a/%2e%2e%20/b", "/a/.%20./b", "/%252e%252e/a", "/%EF%BC%8E%EF%BC%8E/a", "/%252541"],
)
def test_a_segment_that_may_lead_elsewhere_is_ambiguous(path: str) -> None:
    assert has_ambiguous_segment(path)


@pytest.mark.parametrize(
    "path", ["/", "/.a", "/...", "/a.", "/a..b", "/..a", "/;a/b", "//a", "/a%2eb", "/%20", "/50%25"]
)
def test_other_segments_are_clear(path: str) -> None:
    assert not has_ambiguous_segment(path)


@pytest.mark.parametrize(
    ("host", "canonical"),
    [("Shop.Example.:80", "shop.example"), ("[2001:DB8::1]:80", "[2001:db8::1]"), ("shop:", "shop"), ("", "")],
)
def test_a_host_has_one_canonical_form(host: str, canonical: str) -> None:
    assert canonical_host(host) == canonical
