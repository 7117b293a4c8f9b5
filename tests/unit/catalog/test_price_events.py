from pathlib import Path

import pytest

from cart.catalog.files import CatalogFileError, Rejection
from cart.catalog.price_desk import Amount
from cart.catalog.price_events import PriceEvent, read_event
from cart.model import Sku


def event(tmp_path: Path, content: str, **form: str) -> PriceEvent:
    path = tmp_path / "event.csv"
    path.write_text(content, encoding="utf-8")
    return read_event(path, **form)  # type: ignore[arg-type]


def test_a_file_has_skus_and_prices_and_perhaps_their_currency(tmp_path: Path) -> None:
    read = event(tmp_path, "sku,price,colour\n A ,1.99,red\n\nB,5,\n")
    assert read.amounts == {Sku("A"): Amount("1.99"), Sku("B"): Amount("5")}
    assert (read.lines, read.rejections) == ({Sku("A"): 2, Sku("B"): 4}, [])
    read = event(tmp_path, "currency;PRICE;sku\nEUR;1,99;A\n;2;B\n", mark=",")
    assert read.amounts == {Sku("A"): Amount("1,99", "EUR", ","), Sku("B"): Amount("2", None, ",")}


def test_records_that_are_none_are_named_with_their_lines(tmp_path: Path) -> None:
    read = event(tmp_path, 'sku,price\nA,1\n,2\nA,3\nB,"4\n')
    assert read.rejections == [
        Rejection(3, "sku '' is no SKU"),
        Rejection(4, "sku 'A' is on line 2 already"),
        Rejection(5, "a quote opens a field here and does not close it"),
    ]


def test_a_file_without_its_columns_or_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogFileError, match="line 1: the header lacks price"):
        event(tmp_path, "sku,amount\nA,1\n")
    with pytest.raises(CatalogFileError, match="No such file"):
        read_event(tmp_path / "none.csv")
