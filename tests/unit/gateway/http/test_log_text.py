from __future__ import annotations

import pytest

from gateway.http.log_text import MAX_TEXT, log_text

CARD = "4111111111111111"


@pytest.mark.parametrize(
    ("text", "logged"),
    [
        ("curl/8.5.0", "curl/8.5.0"),
        ("Ærø Ølbryggeri 東京", "Ærø Ølbryggeri 東京"),
        ("a\r\n2026 ERROR forged", "a\\r\\n2026 ERROR forged"),
        ("\x00\x1b[31m\x7f\x85", "\\x00\\x1b[31m\\x7f\\x85"),
        ("a\u2028b\u2029c\u202ed", "a\\u2028b\\u2029c\\u202ed"),
        (b"FM-zt\xf8l/1.0".decode("utf-8", "surrogateescape"), "FM-zt\\xf8l/1.0"),
        ("\ud800", "\\ud800"),
        (f"x={CARD}", "x=[card number]"),
    ],
)
def test_text_of_clients_stays_on_one_line(text: str, logged: str) -> None:
    assert log_text(text) == logged
    assert log_text(text).encode()
    assert len(log_text(text).splitlines()) == 1


def test_long_text_is_cut_off() -> None:
    assert log_text("x" * 5000) == "x" * MAX_TEXT + "…"


def test_no_part_of_a_card_number_is_left_where_text_is_cut_off() -> None:
    assert "4111" not in log_text("x" * (MAX_TEXT - 15) + CARD + "x" * 5000)
    assert "4111" not in log_text("x" * (2 * MAX_TEXT - 15) + CARD + "x" * 5000)
