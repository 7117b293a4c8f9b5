"""The rows of a catalogue file: which columns they have, and the checks that make a product of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, get_args

import msgspec

from cart.catalog.categories import CATEGORY_MAX_BYTES, parse_category
from cart.catalog.header import ColumnsMissing
from cart.catalog.model import NAME_MAX_BYTES, CatalogRow
from cart.catalog.numbers import DecimalMark, minor_units, whole_units
from cart.catalog.price_periods import read_periods
from cart.catalog.text_lines import NO_TEXT
from cart.currencies import is_currency
from cart.dates import read_date
from cart.ids import SKU_MAX_BYTES, parse_sku
from cart.model import MAX_HOLD_AT_CART_S, Sku, SoldAhead

# Those that together make a product, and the one that a product may lack.
REQUIRED: Final = ("sku", "name", "price", "currency", "stock")
# The terms, by column; an empty one is the default.
TERMS: Final = (
    "weight_class",
    "tax_class",
    "scheduled_prices",
    "per_shopper",
    "sold_ahead",
    "hold_at_cart",
    "ahead_limit",
    "available_on",
)
COLUMNS: Final = (*REQUIRED, "category", *TERMS)

# Why a SKU cannot be sold here although it is one; None if it can.
SkuCheck = Callable[[Sku], str | None]

# Line breaks and tabs in a name, as cells of a spreadsheet have them, with the blanks around them.
_BREAKS: Final = re.compile("[ \t]*[\t\n\x0b\x0c\r\x85\u2028\u2029]+[ \t]*")
_CLASS: Final = re.compile("[a-z0-9_-]{1,32}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class RowFault(Exception):
    """A row is no product; the message names all that is wrong with it."""


def any_sku(_sku: Sku) -> str | None:
    """The check of a shop that sells all SKUs."""
    return None


def check_columns(columns: Sequence[str]) -> None:
    """Raise `ColumnsMissing` unless a file with these columns of ours can be imported.

    It needs the SKU and something to set: the name, the price with its currency, the stock, the category, or several of them.
    """
    missing = [name for name in REQUIRED if name not in columns]
    if "price" in columns and "currency" not in columns:
        missing = ["currency"]
    elif "currency" in columns and "price" not in columns:
        missing = ["price"]
    elif "scheduled_prices" in columns and "price" not in columns:
        missing = ["price", "currency"]
    elif "sku" in columns and len(columns) > 1:
        return
    elif len(columns) > 1:
        missing = ["sku"]
    if missing:
        raise ColumnsMissing(f"lacks {', '.join(missing)}")


class RowReader:
    """Makes rows of texts by column. `mark` stands before decimals in the file."""

    def __init__(self, mark: DecimalMark = ".", sku_check: SkuCheck = any_sku) -> None:
        self._mark = mark
        self._sku_check = sku_check
        self._readers: tuple[tuple[str, Callable[[str], object]], ...] = (
            ("sku", self._sku),
            ("name", _name),
            ("currency", _currency),
            ("stock", self._stock),
            ("category", _category),
        )

    def row(self, texts: Mapping[str, str]) -> CatalogRow:
        """The row of these texts; a column that is not among them stays as it is. Raises `RowFault`."""
        values: dict[str, Any] = {}
        faults: list[str] = []
        for column, read in self._readers:
            text = texts.get(column)
            if text is None:
                continue
            try:
                values[column] = read(text)
            except ValueError as fault:
                faults.append(f"{column} {_quoted(text)} {fault}")
        terms = _terms(texts, faults)
        # Prices are read by their currency, whose faults are in the list already.
        if "price" in texts and "currency" in values:
            try:
                values["price"] = minor_units(texts["price"].strip(), values["currency"], self._mark)
            except ValueError as fault:
                faults.append(f"price {_quoted(texts['price'])} {fault}")
        if "scheduled_prices" in texts and "currency" in values:
            try:
                periods = read_periods(texts["scheduled_prices"], values["currency"], self._mark)
            except ValueError as fault:
                faults.append(f"scheduled_prices {_quoted(texts['scheduled_prices'])} {fault}")
            else:
                terms["scheduled_prices"] = periods or None
        if terms:
            values["terms"] = msgspec.json.encode(terms).decode()
        if faults:
            raise RowFault("; ".join(faults))
        return CatalogRow(**values)

    def _stock(self, text: str) -> int:
        return whole_units(text.strip(), self._mark)

    def _sku(self, text: str) -> Sku:
        sku = parse_sku(text)
        if sku is None:
            raise ValueError(_sku_fault(text))
        if fault := self._sku_check(sku):
            raise ValueError(fault)
        return sku


def _terms(texts: Mapping[str, str], faults: list[str]) -> dict[str, object]:
    """The terms among these texts that are no prices, None for the default; their faults are added."""
    terms: dict[str, object] = {}
    for column, read in _TERM_READERS:
        if (text := texts.get(column)) is not None:
            try:
                terms[column] = read(text.strip()) if text.strip() else None
            except ValueError as fault:
                faults.append(f"{column} {_quoted(text)} {fault}")
    return terms


def _class(text: str) -> str:
    if not _CLASS.fullmatch(text):
        raise ValueError("is not a name of 1 to 32 of the characters a-z, 0-9, - and _")
    return text


def _units(text: str) -> int | None:
    return whole_units(text) or None


def _hold_s(text: str) -> int | None:
    seconds = whole_units(text)
    if seconds > MAX_HOLD_AT_CART_S:
        raise ValueError(f"is above {MAX_HOLD_AT_CART_S} seconds")
    return seconds or None


def _sold_ahead(text: str) -> str:
    if text not in get_args(SoldAhead):
        raise ValueError(f"is not {' or '.join(get_args(SoldAhead))}")
    return text


def _date(text: str) -> str:
    try:
        return read_date(text)
    except ValueError:
        raise ValueError("is no date such as 2026-12-20") from None


_TERM_READERS: Final[tuple[tuple[str, Callable[[str], object]], ...]] = (
    ("weight_class", _class),
    ("tax_class", _class),
    ("per_shopper", _units),
    ("sold_ahead", _sold_ahead),
    ("hold_at_cart", _hold_s),
    ("ahead_limit", _units),
    ("available_on", _date),
)


def _sku_fault(text: str) -> str:
    if NO_TEXT in text:
        return _no_text()
    if not text.strip():
        return "is empty"
    if text.isprintable() and ("\\" in text or text.strip() in {".", ".."}):
        return "cannot stand in the path of a request: " + (
            "it holds a backslash" if "\\" in text else "dots alone are a place in it"
        )
    return f"is not 1 to {SKU_MAX_BYTES} bytes of printable text"


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    if not text.isprintable():
        if _BREAKS.search(text):
            text = _BREAKS.sub(" ", text).strip()
        if _CONTROL.search(text):
            raise ValueError("holds a control character")
    if NO_TEXT in text:
        raise ValueError(_no_text())
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(_no_text()) from None
    if size > NAME_MAX_BYTES:
        raise ValueError(f"is longer than {NAME_MAX_BYTES} bytes")
    return text


def _category(text: str) -> str:
    if NO_TEXT in text:
        raise ValueError(_no_text())
    category = parse_category(text)
    if category is None:
        raise ValueError(f"is not up to {CATEGORY_MAX_BYTES} bytes of printable text")
    return category


def _no_text() -> str:
    return "is not UTF-8; --encoding reads a file in another encoding, such as cp1252"


def _currency(text: str) -> str:
    text = text.strip()
    if not is_currency(text):
        raise ValueError("is no currency code of ISO 4217, such as GBP")
    return text


def _quoted(text: str) -> str:
    """The text in quotes, in one short printable line."""
    return ascii(text if len(text) <= 40 else text[:40] + "...")
