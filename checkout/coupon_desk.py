"""Coupons as the people of a shop see them and change them, beside live sales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from cart.catalog.model import CatalogRow, terms_of
from cart.catalog.numbers import STOCK_MAX
from cart.catalog.ports import Catalog
from cart.coupons import MARK, NO_CURRENCY, WHOLE, Coupon, parse_code
from cart.currencies import is_currency
from cart.model import Sku
from cart.timestamps import rfc3339
from checkout.ports.coupon_codes import CouponCodes
from checkout.ports.inventory import Correction, Inventory

NAME_MAX: Final = 200
SKUS_MAX: Final = 1000


class CouponInvalid(Exception):
    """A coupon cannot be like that; the text says why."""


class CouponNotFound(Exception):
    """There is no coupon of this code."""

    def __init__(self, code: str) -> None:
        super().__init__(f"there is no coupon {code}")


class CouponOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A coupon as it is offered: its rule, and how often one shopper may use it, 0 for no limit."""

    code: str
    name: str
    rule: Coupon
    per_shopper: int = 0


class CouponState(msgspec.Struct, frozen=True):
    """A coupon, and the uses that are `left`, held for checkouts, and taken by orders in flight; None without a limit in all."""

    offer: CouponOffer
    left: int | None
    held: int
    in_orders: int

    def members(self) -> Mapping[str, Any]:
        """In JSON, as the command line and the admin API show it."""
        offer, rule = self.offer, self.offer.rule
        return {
            "code": offer.code,
            "name": offer.name,
            "percent": rule.percent / 100 if rule.percent else None,
            "amount": rule.amount or None,
            "free_shipping": rule.free_shipping,
            "currency": rule.currency or None,
            "minimum": rule.minimum or None,
            "from": rfc3339(rule.starts_at) if rule.starts_at else None,
            "until": None if rule.ends_at is None else rfc3339(rule.ends_at),
            "skus": list(rule.skus),
            "per_shopper": offer.per_shopper or None,
            "uses": {"left": self.left, "held": self.held, "in_orders": self.in_orders},
        }


class CouponDesk:
    """Looks at coupons and changes them: they are products of a marked SKU (ADR 57). Workers know a change within two seconds.

    All calls raise the errors of their ports.
    """

    def __init__(self, catalog: Catalog, inventory: Inventory, codes: CouponCodes) -> None:
        self._catalog = catalog
        self._inventory = inventory
        self._codes = codes

    async def put(self, offer: CouponOffer, *, uses: int | None = None) -> CouponState:
        """Offer a coupon with so many uses, None for no limit, or change one that there is, whose uses stay.

        May be repeated. Raises `CouponInvalid`.
        """
        code = checked(offer)
        sku = Sku(MARK + code)
        (known,) = await self._catalog.rows([sku])
        was = None if known is None else terms_of(known).coupon
        if was is not None and uses is not None and not was.is_limited:
            raise CouponInvalid("has no limit of uses; remove it to offer another with one")
        is_limited = uses is not None if was is None else was.is_limited
        rule = msgspec.structs.replace(offer.rule, is_limited=is_limited)
        terms = {"coupon": rule, "per_shopper": offer.per_shopper or None}
        row = CatalogRow(
            sku,
            offer.name,
            0,
            NO_CURRENCY,
            # A coupon that was removed and is offered again keeps the uses that are in orders, beside these.
            STOCK_MAX if uses is None else uses,
            terms=msgspec.json.encode(terms).decode(),
        )
        # Listed first: a coupon that counts is in the list.
        await self._codes.add(code)
        await self._catalog.put([row])
        await self._catalog.raise_epoch()
        return await self.show(code)

    async def show(self, text: str) -> CouponState:
        """A coupon. Raises `CouponNotFound`."""
        sku = _sku(text)
        (row,) = await self._catalog.rows([sku])
        terms = None if row is None else terms_of(row)
        if row is None or terms is None or terms.coupon is None:
            raise CouponNotFound(text)
        level = await self._inventory.level(sku)
        offer = CouponOffer(
            code=sku[len(MARK) :], name=row.name or "", rule=terms.coupon, per_shopper=terms.per_shopper
        )
        return CouponState(offer, level.available if terms.coupon.is_limited else None, level.held, level.sold)

    async def page(self, *, limit: int, after: str = "") -> Sequence[CouponState]:
        """Up to `limit` coupons by their codes, those behind `after`."""
        states: list[CouponState] = []
        for code in await self._codes.page(limit=limit, after=after):
            try:
                states.append(await self.show(code))
            except CouponNotFound:  # put or removed by a call that got no further, or does at this moment
                continue
        return states

    async def remove(self, text: str) -> None:
        """End a coupon: carts that have it are told so. Orders that have it keep their discount. Raises `CouponNotFound`."""
        sku = _sku(text)
        removed = await self._catalog.remove([sku])
        await self._codes.remove(sku[len(MARK) :])
        await self._catalog.raise_epoch()
        if not removed:
            raise CouponNotFound(text)

    async def set_uses(self, text: str, uses: int, *, key: str) -> Correction:
        """Have so many uses left, beside those in orders. Once for each key. Raises `CouponNotFound`, `CouponInvalid`."""
        return await self._inventory.set(await self._limited(text), uses, key=key)

    async def add_uses(self, text: str, uses: int, *, key: str) -> Correction:
        """Have so many uses more left, or fewer. Once for each key. Raises `CouponNotFound`, `CouponInvalid`, `UnitsOutOfRange`."""
        return await self._inventory.add(await self._limited(text), uses, key=key)

    async def _limited(self, text: str) -> Sku:
        """The SKU of a coupon with a number of uses."""
        if not (await self.show(text)).offer.rule.is_limited:
            raise CouponInvalid("has no limit of uses")
        return _sku(text)


def checked(offer: CouponOffer) -> str:
    """The code of an offer that can be made. Raises `CouponInvalid`."""
    rule, code = offer.rule, parse_code(offer.code)
    if code is None:
        raise CouponInvalid("must have a code of up to 32 of A-Z, 0-9, - and _, and none of the last two in front")
    if not offer.name.strip() or not offer.name.isprintable() or len(offer.name) > NAME_MAX:
        raise CouponInvalid(f"must have a name of up to {NAME_MAX} printable characters")
    if bool(rule.percent) == bool(rule.amount) and not (rule.free_shipping and not rule.percent):
        raise CouponInvalid("must take off a percentage, or an amount, or the shipping")
    if not 0 <= rule.percent <= WHOLE:
        raise CouponInvalid("must take off up to 100 percent, with two decimals at most")
    if (rule.amount or rule.minimum) and not is_currency(rule.currency):
        raise CouponInvalid("must have the currency of its amount and minimum")
    if rule.currency and not is_currency(rule.currency):
        raise CouponInvalid("must have a currency of ISO 4217")
    if min(rule.amount, rule.minimum, offer.per_shopper) < 0:
        raise CouponInvalid("must have no numbers below 0")
    if rule.ends_at is not None and rule.ends_at <= rule.starts_at:
        raise CouponInvalid("ends before it starts")
    if len(rule.skus) > SKUS_MAX:
        raise CouponInvalid(f"must name {SKUS_MAX:,} SKUs at most")
    return code


def _sku(text: str) -> Sku:
    code = parse_code(text)
    if code is None:
        raise CouponNotFound(text)
    return Sku(MARK + code)
