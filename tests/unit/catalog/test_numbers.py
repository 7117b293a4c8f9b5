from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.catalog.numbers import PRICE_MAX, STOCK_MAX, DecimalMark, minor_units, whole_units

CURRENCIES = st.sampled_from([("JPY", 0), ("GBP", 2), ("KWD", 3), ("CLF", 4)])


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("2.55", "GBP", 255),
        ("2.5", "GBP", 250),
        ("2", "GBP", 200),
        ("0", "GBP", 0),
        ("007.05", "EUR", 705),
        ("300", "JPY", 300),
        ("1.25", "KWD", 1250),
        ("0.0001", "CLF", 1),
        ("1000000000.00", "GBP", PRICE_MAX),
        ("34.000000", "USD", 3400),
        ("300.00", "JPY", 300),
        (".5", "USD", 50),
        (".50", "USD", 50),
        (".0", "JPY", 0),
        ("2.550", "GBP", 255),
        ("0000000000000000000002.55", "GBP", 255),
        ("1" + ".0" + "0" * 5000, "GBP", 100),
    ],
)
def test_a_price_in_major_units_becomes_minor_units(text: str, currency: str, amount: int) -> None:
    assert minor_units(text, currency) == amount


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("2.555", "GBP"),
        ("300.50", "JPY"),
        ("300.01", "JPY"),
        ("1.0001", "KWD"),
        ("1000000000.01", "GBP"),
        ("9" * 6000, "GBP"),
        *[
            (text, "GBP")
            for text in (
                *("", ".", "-1", "-0", "+1", "1,000", "1.000.00", "1'000", "£2", "2 GBP", "5.", "1..5", "1_000", "0x1"),
                *(
                    "\u0661",
                    "\uff12",
                    "²",
                    "½",
                    "NaN",
                    "Infinity",
                    "1e3",
                    "1E+05",
                    "1e-2",
                    "1e999999999",
                    "2 .5",
                    "9" * 13,
                ),
            )
        ],
    ],
)
def test_a_malformed_price_of_the_currency_is_refused(text: str, currency: str) -> None:
    with pytest.raises(ValueError, match=r"is no price|decimals|is above"):
        minor_units(text, currency)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1E+05", "without an exponent"),
        ("2,55", "--decimal-comma"),
        ("1,000", "--decimal-comma"),
        ("1,000.00", "without separators of thousands"),
        ("1 000.00", "without separators of thousands"),
        ("300.50", "has decimals, JPY has none"),
        ("9" * 19, "too large"),
    ],
)
def test_the_reason_says_what_to_do(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        minor_units(text, "JPY")


def test_a_comma_stands_before_decimals_where_the_file_is_said_to_have_it() -> None:
    assert minor_units("2,55", "EUR", ",") == 255
    assert minor_units(",5", "EUR", ",") == 50
    assert minor_units("1000", "EUR", ",") == 100_000
    assert whole_units("100,000", ",") == 100
    for text, reason in (("2.55", "such as 2,55"), ("1.234,56", "separators of thousands")):
        with pytest.raises(ValueError, match=reason):
            minor_units(text, "EUR", ",")


@given(st.integers(0, PRICE_MAX), CURRENCIES, st.sampled_from(".,"), st.integers(0, 8), st.booleans())
def test_writing_a_price_and_reading_it_gives_the_same(
    amount: int, currency: tuple[str, int], mark: DecimalMark, zeros: int, is_short: bool
) -> None:
    code, digits = currency
    text = f"{Decimal(amount).scaleb(-digits):f}"
    if "." in text:
        text += "0" * zeros
        text = text.removeprefix("0") if is_short else text
    assert minor_units(text.replace(".", mark), code, mark) == amount


@given(st.text(st.sampled_from("0123456789.,eE+- "), max_size=12), CURRENCIES)
def test_what_is_read_is_exactly_what_is_written(text: str, currency: tuple[str, int]) -> None:
    code, digits = currency
    try:
        amount = minor_units(text, code)
    except ValueError:
        return
    assert Decimal(text) == Decimal(amount).scaleb(-digits)


@pytest.mark.parametrize(
    ("text", "units"), [("0", 0), ("7", 7), ("007", 7), ("100.0000", 100), ("7.0", 7), (str(STOCK_MAX), STOCK_MAX)]
)
def test_a_stock_is_a_whole_number(text: str, units: int) -> None:
    assert whole_units(text) == units


@pytest.mark.parametrize(
    "text", ["", ".", "-1", "-0", "+1", "1.5", "1e2", "1,000", "x", "\u0661", str(STOCK_MAX + 1), "9" * 5000]
)
def test_another_stock_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"is no whole number of 0 to {STOCK_MAX}"):
        whole_units(text)
