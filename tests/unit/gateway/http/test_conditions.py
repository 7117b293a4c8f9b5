"""Entity tags, If-Match and If-None-Match."""

from __future__ import annotations

import pytest

from gateway.http.conditions import NEVER, content_tag, if_match, matches_none, versioned_tag
from gateway.http.message import Request


class View:
    version = 7


def asking(**headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("PUT", "/", "", named, b"", "id", ())


def test_a_versioned_tag_has_the_version_and_a_checksum_of_the_body() -> None:
    tag = versioned_tag(View(), b"shown")
    assert tag.startswith('"7.')
    assert tag.endswith('"')
    assert tag == versioned_tag(View(), b"shown")
    assert tag != versioned_tag(View(), b"shown at another price")


def test_a_content_tag_follows_the_content() -> None:
    assert content_tag(None, b"a") == content_tag(None, b"a") != content_tag(None, b"b")


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ('"7"', 7),
        ('"7.0a1b2c3d"', 7),
        (' "7" ', 7),
        ("7", 7),
        ('"0"', 0),
        ("*", None),
        ('W/"7"', NEVER),
        ('"7", "8"', NEVER),
        ('"seven"', NEVER),
        ('"-7"', NEVER),
        ('"7.x"', NEVER),
        ('"٧"', NEVER),
        ('"' + "9" * 5000 + '"', NEVER),
        ("", NEVER),
        ('""', NEVER),
        ("\udcff", NEVER),
    ],
)
def test_if_match_gives_a_version(wanted: str, version: int | None) -> None:
    assert if_match(asking(If_Match=wanted)) == version


def test_without_if_match_any_version_will_do() -> None:
    assert if_match(asking()) is None


@pytest.mark.parametrize("known", ['"7.ab"', 'W/"7.ab"', '"1", "7.ab"', '"7.ab","8"', "*", " * "])
def test_a_tag_that_is_known(known: str) -> None:
    assert matches_none(known, '"7.ab"')


@pytest.mark.parametrize("known", ["", '"7.abc"', '"7.a"', '"17.ab"', "7.ab", '"7"', "\udcff"])
def test_a_tag_that_is_not_known(known: str) -> None:
    assert not matches_none(known, '"7.ab"')
