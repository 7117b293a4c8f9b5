"""`peakgate coupons put|show|list|uses|remove`."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from cart.catalog.numbers import minor_units
from cart.coupons import Coupon, read_percent
from cart.currencies import money_text
from cart.ids import parse_sku
from cart.timestamps import rfc3339
from checkout.coupon_desk import CouponDesk, CouponInvalid, CouponNotFound, CouponOffer, CouponState
from checkout.ports.inventory import UnitsOutOfRange
from gateway.commands.order_session import EX_OK, Refused, Say, run_with_coupons
from gateway.commands.tables import print_json, print_table
from gateway.settings import Settings


class CouponTexts(NamedTuple):
    """A coupon as a command line has it: amounts are texts in major units of the `--currency`, times Unix milliseconds."""

    code: str
    name: str
    percent: str | None = None
    amount: str | None = None
    minimum: str | None = None
    is_shipping_free: bool = False
    start: int = 0
    until: int | None = None
    skus: Sequence[str] = ()
    per_shopper: int = 0


def put_coupon(settings: Settings, texts: CouponTexts, *, uses: int | None, as_json: bool, say: Say) -> int:
    """Offer a coupon, or change one."""

    async def act(desk: CouponDesk) -> int:
        state = await desk.put(_offer(texts, settings.currency), uses=uses)
        if uses is not None and state.left != uses:
            say(f"its uses stay: {state.left} are left; `peakgate coupons uses` changes them")
        return _print([state], as_json=as_json)

    return _run(settings, act, say)


def show_coupon(settings: Settings, code: str, *, as_json: bool, say: Say) -> int:
    """Print a coupon."""

    async def act(desk: CouponDesk) -> int:
        return _print([await desk.show(code)], as_json=as_json)

    return _run(settings, act, say)


def list_coupons(settings: Settings, *, limit: int, after: str, as_json: bool, say: Say) -> int:
    """Print coupons by their codes."""

    async def act(desk: CouponDesk) -> int:
        return _print(await desk.page(limit=limit, after=after.upper()), as_json=as_json)

    return _run(settings, act, say)


def change_uses(
    settings: Settings, code: str, *, set_to: int | None, add: int | None, key: str | None, say: Say
) -> int:
    """Have so many uses left, or so many more."""

    async def act(desk: CouponDesk) -> int:
        once = key or secrets.token_hex(8)
        if set_to is not None:
            change = await desk.set_uses(code, set_to, key=once)
        else:
            change = await desk.add_uses(code, add or 0, key=once)
        outcome = "" if change.is_new else " (changed before, by the same key)"
        sys.stdout.write(f"{code.upper()}: {change.before:,} -> {change.after:,} uses left{outcome}\n")
        return EX_OK

    return _run(settings, act, say)


def remove_coupon(settings: Settings, code: str, *, say: Say) -> int:
    """End a coupon."""

    async def act(desk: CouponDesk) -> int:
        await desk.remove(code)
        sys.stdout.write(f"{code.upper()} is removed; orders that have it keep their discount\n")
        return EX_OK

    return _run(settings, act, say)


def _offer(texts: CouponTexts, currency: str) -> CouponOffer:
    def number(name: str, text: str | None, read: Callable[[str], int]) -> int:
        try:
            return 0 if text is None else read(text)
        except ValueError as fault:
            raise Refused(f"the {name} {text!r} {fault}") from None

    amount = number("amount", texts.amount, lambda text: minor_units(text, currency))
    minimum = number("minimum", texts.minimum, lambda text: minor_units(text, currency))
    rule = Coupon(
        percent=number("percentage", texts.percent, read_percent),
        amount=amount,
        free_shipping=texts.is_shipping_free,
        currency=currency if amount or minimum else "",
        minimum=minimum,
        starts_at=texts.start,
        ends_at=texts.until,
        skus=tuple(_sku(name) for name in texts.skus),
    )
    return CouponOffer(code=texts.code, name=texts.name, rule=rule, per_shopper=texts.per_shopper)


def _sku(name: str) -> str:
    sku = parse_sku(name)
    if sku is None:
        raise Refused(f"{name!r} is no SKU")
    return sku


def _run(settings: Settings, act: Callable[[CouponDesk], Awaitable[int]], say: Say) -> int:
    async def refusing(desk: CouponDesk) -> int:
        try:
            return await act(desk)
        except CouponInvalid as error:
            raise Refused(f"the coupon {error}") from None
        except UnitsOutOfRange as error:
            raise Refused(f"only {error.available} uses are left; those of checkouts and orders are promised") from None
        except CouponNotFound as error:
            raise Refused(str(error)) from None

    return run_with_coupons(settings, refusing, say=say)


def _print(states: Sequence[CouponState], *, as_json: bool) -> int:
    if as_json:
        print_json([state.members() for state in states])
        return EX_OK
    print_table(("CODE", "TAKES OFF", "CONDITIONS", "LEFT", "HELD", "IN ORDERS"), [_row(state) for state in states])
    return EX_OK


def _row(state: CouponState) -> Sequence[str]:
    left = "no limit" if state.left is None else str(state.left)
    return (
        state.offer.code,
        _reduction(state.offer),
        _conditions(state.offer),
        left,
        str(state.held),
        str(state.in_orders),
    )


def _reduction(offer: CouponOffer) -> str:
    rule = offer.rule
    parts = [f"{rule.percent / 100:g} %"] if rule.percent else []
    parts += [money_text(rule.amount, rule.currency)] if rule.amount else []
    parts += ["shipping"] if rule.free_shipping else []
    return " and ".join(parts)


def _conditions(offer: CouponOffer) -> str:
    rule = offer.rule
    parts = [f"from {money_text(rule.minimum, rule.currency)}"] if rule.minimum else []
    parts += [f"since {rfc3339(rule.starts_at)}"] if rule.starts_at else []
    parts += [] if rule.ends_at is None else [f"until {rfc3339(rule.ends_at)}"]
    parts += [f"{len(rule.skus)} SKUs"] if rule.skus else []
    parts += [f"{offer.per_shopper} for each shopper"] if offer.per_shopper else []
    return ", ".join(parts)
