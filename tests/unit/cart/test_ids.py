"""SKUs: one for all spellings of it, and none that a request cannot name."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.ids import SKU_MAX_BYTES, parse_sku


@pytest.mark.parametrize(
    "text",
    [
        "ABC-1",
        " ABC-1",
        "ABC-1 ",
        "\tABC-1\r\n",
        "\xa0ABC-1\u3000",
        "\ufeffABC-1",
        "\u200bABC-1\u2060\u200f",
        "\u2028ABC-1\x1f",
    ],
)
def test_blanks_around_a_sku_do_not_count(text: str) -> None:
    assert parse_sku(text) == "ABC-1"


def test_every_white_space_and_every_format_character_is_a_blank_around_a_sku() -> None:
    blanks = [char for char in map(chr, range(0x3001)) if char.isspace()] + ["\ufeff", "\u200d", "\u2066", "\xad"]
    assert [char for char in blanks if parse_sku(f"{char}A{char}") != "A"] == []


def test_blanks_inside_a_sku_stay_as_they_are() -> None:
    assert parse_sku("BANK  CHARGES") == "BANK  CHARGES"


def test_composed_and_decomposed_letters_are_one_sku() -> None:
    composed, decomposed = "Crème", unicodedata.normalize("NFD", "Crème")
    assert composed != decomposed
    assert parse_sku(composed) == parse_sku(decomposed) == composed
    assert parse_sku("\u212b") == "\xc5", "the sign of the unit is the letter"


@pytest.mark.parametrize(
    "text",
    ["A", "0", "-", "...", ".a", "a.", "A/B", "%2e", "a;b", "{x}", "}", "é" * 32, "茶" * 21, "x" * 64, "a?b#c", "💐"],
)
def test_unusual_skus_are_read_as_they_are(text: str) -> None:
    assert parse_sku(text) == text


def test_what_is_longer_only_by_blanks_or_marks_fits() -> None:
    assert parse_sku(" " * 70 + "x" * 64) == "x" * 64
    assert parse_sku(unicodedata.normalize("NFD", "é" * 32)) == "é" * 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\xa0\u3000\u200b",
        ".",
        "..",
        " .. ",
        "a\\b",
        "é\\",
        "a\tb",
        "a\nb",
        "\x00",
        "a\x7f",
        "a\xa0b",
        "a\u200bb",
        "\ud800",
        "\x01v",
        "x" * 65,
        "é" * 33,
    ],
)
def test_what_no_request_can_name_is_no_sku(text: str) -> None:
    assert parse_sku(text) is None


@given(st.text(st.characters(), max_size=70))
def test_a_sku_that_was_read_reads_as_itself(text: str) -> None:
    sku = parse_sku(text)
    if sku is not None:
        assert parse_sku(sku) == sku
        assert 1 <= len(sku.encode()) <= SKU_MAX_BYTES
        assert sku.isprintable()
        assert sku == sku.strip()
