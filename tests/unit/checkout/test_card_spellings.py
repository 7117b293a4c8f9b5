"""Card numbers are found however they are written, and numbers of a shop's daily trade are not taken for them."""

from __future__ import annotations

import csv
import json
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from checkout.cards.issuers import is_issued, is_luhn_valid, is_trade_item
from checkout.cards.masking import MASK, mask
from checkout.cards.search import contains_card_number, contains_issued_card_number, is_card_number_in

CARD = "4111111111111111"
GROUPS = ("4111", "1111", "1111", "1111")
_CATALOG = Path(__file__).parents[3] / "examples" / "catalog.csv"


def grouped(separator: str) -> str:
    return separator.join(GROUPS)


def in_script(zero: str) -> str:
    return "".join(chr(ord(zero) + int(digit)) for digit in CARD)


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


def percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


SEPARATORS = {
    "blank": " ",
    "two blanks": "  ",
    "no-break blank": "\u00a0",
    "thin blank": "\u2009",
    "hair blank": "\u200a",
    "narrow no-break blank": "\u202f",
    "figure blank": "\u2007",
    "ideographic blank": "\u3000",
    "hyphen-minus": "-",
    "two hyphens": "--",
    "soft hyphen": "\u00ad",
    "hyphen": "\u2010",
    "non-breaking hyphen": "\u2011",
    "figure dash": "\u2012",
    "en dash": "\u2013",
    "em dash": "\u2014",
    "horizontal bar": "\u2015",
    "minus": "\u2212",
    "wide hyphen": "\uff0d",
    "dot": ".",
    "middle dot": "\u00b7",
    "slash": "/",
    "backslash": "\\",
    "underscore": "_",
    "comma": ",",
    "comma and blank": ", ",
    "plus": "+",
    "tab": "\t",
    "newline": "\n",
    "carriage return and newline": "\r\n",
    "zero-width blank": "\u200b",
    "zero-width joiner": "\u200d",
    "word joiner": "\u2060",
    "byte-order mark": "\ufeff",
    "blanks about a dash": " - ",
    "mixed": " \u200b-\u2009.",
}
SPELLINGS = {
    "plain": CARD,
    **{name: grouped(separator) for name, separator in SEPARATORS.items()},
    "different separators": "4111-1111 1111.1111",
    "each digit by itself": " ".join(CARD),
    "each digit by itself, zero-width": "\u200b".join(CARD),
    "pairs": " ".join(CARD[at : at + 2] for at in range(0, 16, 2)),
    "within letters": f"x{CARD}y",
    "after a plus": "+" + grouped("+"),
    "with the expiry": grouped(" ") + " 12/27 123",
    "with the expiry, each digit by itself": " ".join(CARD + "1227"),
    "wide": in_script("\uff10"),
    "Arabic-Indic": in_script("\u0660"),
    "Extended Arabic-Indic": in_script("\u06f0"),
    "Devanagari": in_script("\u0966"),
    "Bengali": in_script("\u09e6"),
    "mathematical bold": in_script("\U0001d7ce"),
    "two scripts": CARD[:8] + in_script("\uff10")[8:],
    "wide and grouped": " ".join(in_script("\uff10")[at : at + 4] for at in range(0, 16, 4)),
    "percent-encoded": percent(CARD),
    "percent-encoded separators": grouped("%20"),
    "percent-encoded wide": percent(in_script("\uff10")),
    "percent-encoded twice": quote(percent(CARD)),
    "escaped": escaped(CARD),
    "escaped wide": escaped(in_script("\uff10")),
    "escaped separators": grouped("\\u2009"),
    "escaped in part": "4111\\u0031111" + "11111111",
    "escaped twice": escaped(CARD).replace("\\", "\\\\"),
}


def test_the_table_has_enough_spellings() -> None:
    assert len(SPELLINGS) >= 46


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_of_a_card_number_is_found(name: str) -> None:
    written = SPELLINGS[name]
    assert is_card_number_in(written)
    for contains in (contains_card_number, contains_issued_card_number):
        assert contains(json.dumps({"sku": written}).encode())
        assert contains(json.dumps({"sku": written}, ensure_ascii=False).encode())
        assert contains(json.dumps({written: 1}).encode())
        assert contains(json.dumps([{"a": [written]}]).encode())


def test_a_card_number_is_found_as_a_json_number() -> None:
    for number in (CARD, f"-{CARD}", f"{CARD}.0", "4.111111111111111e15"):
        assert contains_issued_card_number(b'{"quantity":%b}' % number.encode())


@pytest.mark.parametrize(
    "card",
    [
        "4222222222222",
        "4000000000000000006",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "6011111111111117",
        "6200000000000005",
        "30569309025904",
        "36227206271667",
        "3530111333300000",
        "6304000000000000000",
        "5018000000000009",
        "2200000000000004",
        "9792000000000003",
    ],
)
def test_numbers_of_all_networks_are_found(card: str) -> None:
    assert is_luhn_valid(card)
    assert is_card_number_in(card)
    assert contains_issued_card_number(json.dumps({"sku": card}).encode())


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_is_masked_for_logs(name: str) -> None:
    masked = mask(f"/v1/{SPELLINGS[name]}/end")
    assert not is_card_number_in(masked)
    assert MASK in masked


def ean_13(chance: random.Random, prefix: str = "") -> str:
    digits = prefix + "".join(chance.choice("0123456789") for _ in range(12 - len(prefix)))
    return next(digits + check for check in "0123456789" if is_trade_item(digits + check))


def luhn(digits: str) -> str:
    return next(digits + check for check in "0123456789" if is_luhn_valid(digits + check))


def trade_numbers(count: int) -> Iterator[tuple[str, int]]:
    """SKUs of the sample shop, and EANs of which more than a tenth are Luhn-valid, with quantities."""
    chance = random.Random(13)
    with _CATALOG.open(encoding="utf-8", newline="") as file:
        skus = [row["sku"] for row in csv.DictReader(file)]
    for number in range(count):
        sku = chance.choice(skus) if number % 2 else ean_13(chance, chance.choice(["4", "400", "50", "97", ""]))
        yield sku, chance.choice([1, 2, 6, 12, 144, chance.randint(1, 10_000)])


def test_ten_thousand_skus_quantities_and_eans_raise_no_false_alarm() -> None:
    lines = list(trade_numbers(10_000))
    assert sum(is_luhn_valid(sku) for sku, _ in lines if len(sku) == 13 and sku.isdigit()) > 400
    alarms = [
        (sku, quantity)
        for sku, quantity in lines
        if is_card_number_in(sku)
        or contains_issued_card_number(json.dumps({"sku": sku, "quantity": quantity}).encode())
    ]
    assert alarms == []


def test_a_batch_of_a_thousand_lines_raises_no_false_alarm() -> None:
    body = [{"sku": sku, "quantity": quantity} for sku, quantity in trade_numbers(1000)]
    assert not contains_issued_card_number(json.dumps(body).encode())
    assert not contains_issued_card_number(json.dumps(body, separators=(",", ":")).encode())


def test_identifiers_raise_no_false_alarm() -> None:
    chance = random.Random(5)
    for _ in range(3000):
        trace, span = f"{chance.getrandbits(128):032x}", f"{chance.getrandbits(64):016x}"
        assert not is_card_number_in(f"00-{trace}-{span}-01")
        assert not is_card_number_in(str(uuid.UUID(int=chance.getrandbits(128), version=4)))
        assert not is_card_number_in(f"{chance.getrandbits(256):064x}")


def test_numbers_of_devices_phones_and_times_raise_no_false_alarm() -> None:
    chance = random.Random(8)
    for _ in range(2000):
        serial = "".join(chance.choice("0123456789") for _ in range(12))
        assert not is_card_number_in(luhn("35" + serial))  # IMEI
        assert not is_card_number_in(luhn("86" + serial))
        assert not is_card_number_in("0" + serial[:11])  # UPC
        assert not is_card_number_in(f"+49 1512 {serial[:3]} {serial[3:7]}")
        assert not is_card_number_in(f"+4915{serial[:9]}")
        assert not is_card_number_in(str(1_700_000_000_000 + int(serial[:11])))
        assert not is_card_number_in(f"2026-11-27T06:00:00.{serial[:6]}Z")
        assert not is_card_number_in(f"2026112706{serial[:7]}")
        assert not is_card_number_in(f"{ean_13(chance, '4')}-{serial[:3]}")  # of a variant


@pytest.mark.parametrize("piece", ["1 ", "4 ", "4\u200b", "\\u0034", "%34", "%2534", "4111 ", "411111111111111 "])
def test_a_hostile_text_is_searched_in_linear_time(piece: str) -> None:
    # The whole would take minutes if the time were quadratic.
    is_card_number_in(piece * (60_000 // len(piece)))


def test_a_number_must_be_of_a_card_network_where_skus_are_expected() -> None:
    number = luhn("800000000000000")
    assert not is_issued(number)
    assert contains_card_number(json.dumps({"line1": number}).encode())
    assert not contains_issued_card_number(json.dumps({"sku": number}).encode())
