import pytest

from cart.catalog.model import NO_OPTIONS, PageOptions, ProductFilter
from cart.catalog.page_options import page_options
from cart.errors import InvalidBody


def read(**texts: str | None) -> PageOptions:
    return page_options(texts, currency="GBP")


def test_no_parameters_are_no_options() -> None:
    assert read() is read(fields=None, category="", min_price="", in_stock="") is NO_OPTIONS


def test_parameters_are_read_in_the_currency_of_the_shop_or_that_of_the_request() -> None:
    assert read(min_price="100").only == ProductFilter(None, "GBP", 100, None)
    assert read(max_price="0", currency="JPY").only == ProductFilter(None, "JPY", None, 0)
    assert read(currency="JPY").only is None


def test_a_category_is_composed_and_trimmed_as_in_files() -> None:
    assert read(category=" Cafe\u0301 ").only == ProductFilter("Caf\u00e9")
    assert read(category="  ").only is None


def test_members_are_named_with_commas_between_them() -> None:
    assert read(fields="name, price", in_stock="true") == PageOptions(frozenset({"name", "price"}), None, True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fields", "name,colour"),
        ("fields", ","),
        ("category", "x" * 201),
        ("category", "a\tb"),
        ("category", "\ud800"),
        ("min_price", "-1"),
        ("min_price", "2.55"),
        ("max_price", "1" * 13),
        ("max_price", "\u0661"),
        ("currency", "pounds"),
        ("in_stock", "false"),
    ],
)
def test_a_parameter_that_is_none_is_named(name: str, text: str) -> None:
    with pytest.raises(InvalidBody) as refused:
        read(**{name: text})
    assert [pointer for pointer, _ in refused.value.errors] == [f"/{name}"]


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidBody, match="min_price"):
        read(min_price="2", max_price="1")
