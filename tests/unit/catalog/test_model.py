from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.catalog.model import PRICE_MAX, ProductPage, ProductView, minor_units, words_of
from cart.currencies import is_currency
from cart.model import Product, Sku

HEART = Product(Sku("85123A"), 'WHITE "HEART"', 255, "GBP")


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
    ],
)
def test_a_price_in_major_units_becomes_minor_units(text: str, currency: str, amount: int) -> None:
    assert minor_units(text, currency) == amount


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("2.555", "GBP"),
        ("2.550", "GBP"),
        ("300.0", "JPY"),
        ("1.0001", "KWD"),
        ("1000000000.01", "GBP"),
        *[
            (text, "GBP")
            for text in ("", "-1", "+1", "1e3", "1,000", "£2", ".5", "5.", "\u0661", "NaN", "2 .5", "9" * 13)
        ],
    ],
)
def test_a_malformed_price_of_the_currency_is_refused(text: str, currency: str) -> None:
    with pytest.raises(ValueError, match=r"is no price|decimals|is above"):
        minor_units(text, currency)


@given(st.integers(0, PRICE_MAX), st.sampled_from([("JPY", 0), ("GBP", 2), ("KWD", 3), ("CLF", 4)]))
def test_writing_a_price_and_reading_it_gives_the_same(amount: int, currency: tuple[str, int]) -> None:
    code, digits = currency
    assert minor_units(f"{Decimal(amount).scaleb(-digits):f}", code) == amount


def test_a_currency_is_one_of_iso_4217() -> None:
    assert all(map(is_currency, ("GBP", "EUR", "JPY", "KWD", "CLF", "XCG")))
    assert not any(
        map(is_currency, ("", "gbp", "GB", "GBPP", "GB1", "GBP\n", "ÄÖÜ", "ZZZ", "DEM", "XXX", "XAU", "BTC"))
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("WHITE HANGING HEART T-LIGHT HOLDER", ["white", "hanging", "heart", "t", "light", "holder"]),
        ("CHILDREN'S_APRON  (x3)", ["children", "s", "apron", "x3"]),
        ("Café crème, Straße", ["cafe", "creme", "strasse"]),
        ("cafe\u0301", ["cafe"]),
        ("\uff26\uff35\uff2c\uff2c \uff11\uff12", ["full", "12"]),
        ("茶碗 ™", ["茶碗", "tm"]),
        ("İSTANBUL", ["istanbul"]),
        ('"-*()^:', []),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_and_digits_without_case_and_accents(name: str, words: list[str]) -> None:
    assert words_of(name) == words


def test_a_product_shows_its_price_and_stock() -> None:
    assert msgspec.json.decode(ProductView(HEART, True, 7).to_json()) == {
        "sku": "85123A",
        "name": 'WHITE "HEART"',
        "price": {"amount": 255, "currency": "GBP"},
        "in_stock": True,
        "stock": 7,
    }


def test_a_sold_out_product_shows_a_stock_of_nothing() -> None:
    body = msgspec.json.decode(ProductView(HEART, False, 0).to_json())
    assert (body["in_stock"], body["stock"]) == (False, 0)


def test_a_hidden_stock_leaves_the_count_out() -> None:
    body = msgspec.json.decode(ProductView(HEART, True, None).to_json())
    assert body["in_stock"] is True
    assert "stock" not in body


def test_a_page_has_its_products_and_the_next_cursor() -> None:
    view = ProductView(HEART, True, 7)
    body = msgspec.json.decode(ProductPage([view], "next").to_json())
    assert body == {"products": [msgspec.json.decode(view.to_json())], "next_cursor": "next"}
    assert ProductPage([], None).to_json() == b'{"products":[],"next_cursor":null}'
