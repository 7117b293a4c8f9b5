import msgspec

from cart.catalog.model import ProductPage, ProductView
from cart.currencies import is_currency
from cart.model import Product, Sku

HEART = Product(Sku("85123A"), 'WHITE "HEART"', 255, "GBP")


def test_a_currency_is_one_of_iso_4217() -> None:
    assert all(map(is_currency, ("GBP", "EUR", "JPY", "KWD", "CLF", "XCG")))
    assert not any(
        map(is_currency, ("", "gbp", "GB", "GBPP", "GB1", "GBP\n", "ÄÖÜ", "ZZZ", "DEM", "XXX", "XAU", "BTC"))
    )


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
