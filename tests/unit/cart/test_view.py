from __future__ import annotations

import json

import msgspec
import pytest

from cart import responses
from cart.model import Cart, CartId, Line, OrderId, Product, Sku, Status, Terms
from cart.view import CartView

T0 = 1_795_759_200_000
PRODUCTS = {
    product.sku: product
    for product in (
        Product(Sku("85123A"), "WHITE HANGING HEART", 255, "GBP"),
        Product(Sku('B "1"'), "Lämpchen £5 💡 \\ \n", 1_250_000, "GBP"),
        Product(Sku("EURO"), "Abroad", 100, "EUR"),
        Product(Sku("FREE"), "Gift", 0, "GBP"),
        Product(Sku("TICKET"), "Ticket", 100, "GBP", terms=Terms(per_shopper=2)),
    )
}


def view(*lines: Line, status: Status = "open", order_id: str | None = None) -> CartView:
    cart = Cart(
        id=CartId("7f" + "a2" * 12),
        currency="GBP",
        created_at=T0,
        updated_at=T0 + 61_007,
        version=4,
        lines=lines,
        status=status,
        order_id=None if order_id is None else OrderId(order_id),
        owner="ada",
    )
    return CartView(cart, PRODUCTS, expires_at=T0 + 86_400_000, now=T0)


def money(amount: int) -> dict[str, object]:
    return {"amount": amount, "currency": "GBP"}


def test_a_cart_has_all_members_of_the_api() -> None:
    rendered = view(Line(Sku("85123A"), 2, 255), Line(Sku('B "1"'), 10_000, 1_250_000))
    assert json.loads(rendered.to_json()) == {
        "id": "7f" + "a2" * 12,
        "version": 4,
        "currency": "GBP",
        "status": "open",
        "lines": [
            {
                "sku": "85123A",
                "name": "WHITE HANGING HEART",
                "quantity": 2,
                "unit_price": money(255),
                "total": money(510),
            },
            {
                "sku": 'B "1"',
                "name": "Lämpchen £5 💡 \\ \n",
                "quantity": 10_000,
                "unit_price": money(1_250_000),
                "total": money(12_500_000_000),
            },
        ],
        "item_count": 10_002,
        "subtotal": money(12_500_000_510),
        "discounts": [],
        "total": money(12_500_000_510),
        "created_at": "2026-11-27T06:00:00.000Z",
        "updated_at": "2026-11-27T06:01:01.007Z",
        "expires_at": "2026-11-28T06:00:00.000Z",
    }


def test_an_empty_cart_has_no_lines_and_costs_nothing() -> None:
    body = json.loads(view().to_json())
    assert (body["lines"], body["item_count"], body["total"]) == ([], 0, money(0))


def test_an_ordered_cart_names_its_order() -> None:
    body = json.loads(view(status="ordered", order_id="7f" + "b" * 24).to_json())
    assert (body["status"], body["order_id"]) == ("ordered", "7f" + "b" * 24)
    assert "order_id" not in json.loads(view().to_json())


def test_a_line_shows_the_price_of_now_and_warns_of_the_one_quoted() -> None:
    body = json.loads(view(Line(Sku("85123A"), 3, 199), Line(Sku("FREE"), 1, 0)).to_json())
    assert body["lines"][0] == {
        "sku": "85123A",
        "name": "WHITE HANGING HEART",
        "quantity": 3,
        "unit_price": money(255),
        "total": money(765),
        "warnings": [{"code": "price-changed", "was": money(199)}],
    }
    assert "warnings" not in body["lines"][1]
    assert body["total"] == money(765)


def test_a_line_of_a_product_no_longer_sold_shows_the_quoted_price_and_a_warning() -> None:
    body = json.loads(view(Line(Sku("gone"), 3, 199)).to_json())
    assert body["lines"] == [
        {
            "sku": "gone",
            "name": "gone",
            "quantity": 3,
            "unit_price": money(199),
            "total": money(597),
            "warnings": [{"code": "product-unavailable"}],
        }
    ]
    assert body["total"] == money(597)


def test_a_line_above_the_limit_for_one_shopper_warns_of_it() -> None:
    enough, too_many = (
        json.loads(view(Line(Sku("TICKET"), quantity, 100)).to_json())["lines"][0] for quantity in (2, 3)
    )
    assert "warnings" not in enough
    assert too_many["warnings"] == [{"code": "per-shopper-limit", "limit": 2}]
    assert too_many["total"] == money(300)


@pytest.mark.parametrize(
    ("units", "warning"),
    [
        (2, {"code": "backorder", "available_on": "2026-12-20"}),
        (-7, {"code": "backorder", "available_on": "2026-12-20"}),
        (-8, {"code": "insufficient-stock", "available": 2}),
        (-11, {"code": "insufficient-stock", "available": 0}),
    ],
)
def test_a_line_beyond_the_stock_says_when_its_units_come(units: int, warning: dict[str, object]) -> None:
    terms = Terms(sold_ahead="backorder", ahead_limit=10, available_on="2026-12-20")
    mug = Product(Sku("MUG"), "Mug", 100, "GBP", terms=terms)
    cart = view(Line(mug.sku, 3, 100)).cart
    shown = CartView(cart, {mug.sku: mug}, expires_at=T0, now=T0, short={mug.sku: units})
    assert json.loads(shown.to_json())["lines"][0]["warnings"] == [warning]


def test_the_stock_may_be_hidden() -> None:
    cart = view(Line(Sku("FREE"), 3, 0)).cart
    shown = CartView(cart, PRODUCTS, expires_at=T0, now=T0, short={Sku("FREE"): 2}, show_stock=False)
    assert json.loads(shown.to_json())["lines"][0]["warnings"] == [{"code": "insufficient-stock"}]


def test_a_product_now_sold_in_another_currency_is_unavailable_in_the_cart() -> None:
    line = json.loads(view(Line(Sku("EURO"), 1, 80)).to_json())["lines"][0]
    assert (line["unit_price"], line["warnings"]) == (money(80), [{"code": "product-unavailable"}])


def test_numbers_of_any_size_are_written_right() -> None:
    for quantity in (1, 16, 17, 4095, 4096, 10_000):
        line = json.loads(view(Line(Sku("85123A"), quantity, 255)).to_json())["lines"][0]
        assert (line["quantity"], line["total"]["amount"]) == (quantity, quantity * 255)


def test_the_same_cart_at_the_same_prices_has_the_same_bytes() -> None:
    line = Line(Sku("85123A"), 2, 255)
    assert view(line).to_json() == view(line).to_json()
    assert view(line).version == 4


def test_the_json_of_a_cart_is_that_of_the_struct_in_the_api_document() -> None:
    shown = Line(Sku('B "1"'), 2, 1_250_000)
    changed, unavailable, abroad = Line(Sku("85123A"), 3, 199), Line(Sku("gone"), 1, 5), Line(Sku("EURO"), 1, 80)
    for rendered in (
        view(),
        view(shown),
        view(changed, unavailable, abroad, shown),
        view(shown, status="ordered", order_id="7f" + "b" * 24),
        view(status="merged"),
    ):
        body = rendered.to_json()
        assert msgspec.json.encode(msgspec.json.decode(body, type=responses.Cart)) == body
