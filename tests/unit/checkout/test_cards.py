from __future__ import annotations

import json
import random
import time

import pytest

from checkout.cards.issuers import is_luhn_valid
from checkout.cards.search import contains_card_number

# Numbers that card networks publish for tests.
CARDS = [
    "4111111111111111",
    "5555555555554444",
    "378282246310005",
    "6011111111111117",
    "30569309025904",
    "4222222222222",
    "6304000000000000000",
]


@pytest.mark.parametrize("card", CARDS)
def test_a_card_number_is_found_in_a_string_and_in_a_number(card: str) -> None:
    assert contains_card_number(json.dumps({"payment": {"token": card}}).encode())
    assert contains_card_number(b'{"payment":{"token":' + card.encode() + b"}}")
    assert contains_card_number(b'{"token":"x' + card.encode() + b'y"}')


@pytest.mark.parametrize(
    "written",
    [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111 - 1111 - 1111 - 1111",
        "4111\u00a01111\u00a01111\u00a01111",
        "4111\u20131111\u20131111\u20131111",
        "4111\t1111\n1111 1111",
        "4111\u200b1111\u200b1111\u200b1111",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "3782 822463 10005",
        "41111111 11111111",
        "card 4111 1111 1111 1111 12/25 123",
        "4111 1111 1111 1111 12 25",
        "07 2026 4111 1111 1111 1111 123",
        "７ ４１１１１１１１１１１１１１１１ 1",
    ],
)
def test_a_card_number_is_found_in_any_notation(written: str) -> None:
    assert contains_card_number(json.dumps({"name": written}).encode())
    assert contains_card_number(json.dumps({"name": written}, ensure_ascii=False).encode())


def test_an_escaped_card_number_is_found() -> None:
    escaped = "".join(f"\\u{ord(digit):04x}" for digit in "4111111111111111")
    assert contains_card_number(f'{{"token":"{escaped}"}}'.encode())
    assert contains_card_number(b'{"token":"4111\\u00201111\\t1111\\u002D111\\u0031"}')


def test_a_card_number_is_found_in_a_body_that_is_not_json() -> None:
    assert contains_card_number(b"\xff\xfe4111111111111111")


@pytest.mark.parametrize(
    "harmless",
    [
        "4111111111111112",  # wrong check digit
        "411111111111",  # 12 digits
        "41111111111111111111",  # 20 digits
        "+44 20 7946 0958",
        "+49 (0) 30 1234 5678 901",
        "SW1A 2AA",
        "94103-1234",
        "+49 1512 3456 7890",
        "550e8400-e29b-41d4-a716-446655440000",
        "7fabcdefghijklmnop234567qr",
        "",
    ],
)
def test_other_numbers_are_accepted(harmless: str) -> None:
    assert not contains_card_number(json.dumps({"line1": harmless, "n": 7, "amount": 77_475_222}).encode())


def test_a_number_of_twenty_digits_is_no_card_number() -> None:
    number = "41111111111111111115"
    assert is_luhn_valid(number)
    assert not contains_card_number(f'{{"line1":"{number}"}}'.encode())


def test_numbers_of_different_fields_are_not_joined() -> None:
    assert not contains_card_number(b'{"a":"4111","b":"1111","c":"1111","d":"1111"}')
    assert not contains_card_number(b"[4111,1111,1111,1111]")


def test_the_check_digit_is_by_luhn() -> None:
    valid = [digit for digit in "0123456789" if is_luhn_valid(f"7992739871{digit}")]
    assert valid == ["3"]


@pytest.mark.parametrize(
    "hostile", [b"1 " * 32_000, b"1" * 64_000, b"41111111111111 " * 4_000, b"1234 " * 12_000, b"\\u0030" * 10_000]
)
def test_a_hostile_body_is_searched_in_linear_time(hostile: bytes) -> None:
    # Backtracking would take minutes of CPU time here: the limit is no measure of speed, and a busy machine does not change it.
    started = time.process_time()
    contains_card_number(hostile)
    assert time.process_time() - started < 5


def test_a_random_card_number_is_found_in_any_text() -> None:
    chance = random.Random(7)
    for length in range(13, 20):
        digits = "".join(chance.choice("0123456789") for _ in range(length - 1))
        card = next(digits + check for check in "0123456789" if is_luhn_valid(digits + check))
        assert contains_card_number(f'{{"line1":"Order {card}, please"}}'.encode())
