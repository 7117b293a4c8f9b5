"""The currencies of ISO 4217 and the digits of their minor units.

Source: ISO 4217, list one, as in pycountry 26.2.16. Codes without a minor unit (gold, funds of
banks, tests, no currency) are left out, because nothing can have a price in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_BY_DIGITS: Final[Mapping[int, str]] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP
    COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR
    JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN
    NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL
    THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
MINOR_DIGITS: Final[Mapping[str, int]] = {
    currency: digits for digits, currencies in _BY_DIGITS.items() for currency in currencies.split()
}
BAD_CURRENCY: Final = "must be a currency code of ISO 4217, such as GBP"


def is_currency(text: str) -> bool:
    """Whether `text` is the ISO 4217 code of a currency, in capital letters."""
    return text in MINOR_DIGITS


def money_text(amount: int, currency: str) -> str:
    """An amount in major units, as people write it: `12.34 GBP`."""
    digits = MINOR_DIGITS.get(currency, 2)
    whole, fraction = divmod(abs(amount), 10**digits)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole}.{fraction:0{digits}d} {currency}" if digits else f"{sign}{whole} {currency}"
