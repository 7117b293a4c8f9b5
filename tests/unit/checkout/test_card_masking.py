"""Card numbers in logged text are masked, however they are written."""

from __future__ import annotations

import pytest

from checkout.cards.masking import MASK, mask

CARD = "4111111111111111"


@pytest.mark.parametrize(
    "written",
    [
        CARD,
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111+1111+1111+1111",
        "4111%201111%201111%201111",
        "4111%2D1111%2d1111-1111",
        "4111%E2%80%911111%E2%80%911111%E2%80%911111",
        "".join(f"%{ord(digit):02x}" for digit in CARD),
        "".join(f"%25{ord(digit):02x}" for digit in CARD),
        "\\u0034" + CARD[1:],
        "\\x34" + CARD[1:],
        "4111\\n1111\\t1111\\r1111",
        "\\\\u0034" + CARD[1:],
        "%EF%BC%94" + CARD[1:],
        "٤" + CARD[1:],
        "378282246310005",
        "30569309025904",
    ],
)
def test_a_card_number_is_masked_however_it_is_written(written: str) -> None:
    assert mask(f"GET /pay/{written}?x=1 failed") == f"GET /pay/{MASK}?x=1 failed"


def test_a_card_number_inside_a_trace_id_is_masked() -> None:
    assert CARD not in mask(f"request {CARD}abcdefabcdefabcd")
    assert CARD not in mask(f"request 0000{CARD}000000000000")


def test_every_card_number_of_a_text_is_masked() -> None:
    assert mask(f"{CARD} and {CARD}, 'a'") == f"{MASK} and {MASK}, 'a'"


@pytest.mark.parametrize(
    "harmless",
    [
        "",
        "order 12 of 2026",
        "4111111111111112",
        "10.100.200.101:54321 and 10.100.200.102:54329",
        "2026-11-26 20:16:43.123456 to 2026-11-26T20:16:44Z",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
        "%",
        "100%, \\ and \\u12, " + "%zz" * 13 + "1234567890123",
    ],
)
def test_other_text_stays(harmless: str) -> None:
    assert mask(harmless) == harmless


def test_bytes_that_are_no_text_do_not_hide_a_card_number() -> None:
    assert CARD not in mask(f"\udcff{CARD}\udcfe %ff%fe{CARD}")
