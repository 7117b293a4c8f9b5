"""The filters and members that a request for a page of products names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from cart.catalog.categories import CATEGORY_MAX_BYTES, parse_category
from cart.catalog.model import NO_OPTIONS, PageOptions, ProductFilter
from cart.catalog.responses import MEMBERS
from cart.currencies import is_currency
from cart.errors import InvalidBody

PARAMETERS: Final = ("fields", "category", "min_price", "max_price", "currency", "in_stock")
# Minor units; more digits would look like a card number.
_AMOUNT: Final = re.compile(r"\d{1,12}", re.ASCII)


def page_options(texts: Mapping[str, str | None], *, currency: str) -> PageOptions:
    """The options of these parameters, None or empty for one that is absent; prices without a currency are in `currency`.

    Raises `InvalidBody` that names the parameters, such as `/min_price`.
    """
    given = {name: text for name in PARAMETERS if (text := texts.get(name))}
    if not given:
        return NO_OPTIONS
    faults: list[tuple[str, str]] = []
    fields = _fields(given, faults)
    only = _filter(given, currency, faults)
    if given.get("in_stock", "true") != "true":
        faults.append(("/in_stock", "must be true"))
    if faults:
        raise InvalidBody(faults)
    return PageOptions(fields, only, "in_stock" in given)


def _fields(given: Mapping[str, str], faults: list[tuple[str, str]]) -> frozenset[str] | None:
    if "fields" not in given:
        return None
    names = [name.strip() for name in given["fields"].split(",")]
    if not set(names) <= set(MEMBERS):
        faults.append(("/fields", f"must be some of {', '.join(MEMBERS)}, with commas between them"))
    return frozenset(names)


def _filter(given: Mapping[str, str], currency: str, faults: list[tuple[str, str]]) -> ProductFilter | None:
    category = parse_category(given.get("category", ""))
    if category is None:
        faults.append(("/category", f"must be up to {CATEGORY_MAX_BYTES} bytes of printable text"))
    low, high = (_amount(name, given, faults) for name in ("min_price", "max_price"))
    if low is not None and high is not None and low > high:
        faults.append(("/min_price", "must be at most max_price"))
    currency = given.get("currency", currency)
    if not is_currency(currency):
        faults.append(("/currency", "must be a currency code of ISO 4217, such as GBP"))
    if low is None and high is None:
        return ProductFilter(category) if category else None
    return ProductFilter(category or None, currency, low, high)


def _amount(name: str, given: Mapping[str, str], faults: list[tuple[str, str]]) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not _AMOUNT.fullmatch(text):
        faults.append((f"/{name}", "must be a whole number of minor units, of at most 12 digits"))
        return None
    return int(text)
