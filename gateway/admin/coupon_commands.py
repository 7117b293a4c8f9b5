"""The operator's commands on coupons, which the admin API has any worker run."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec

from cart.catalog.price_periods import read_instant
from cart.coupons import Coupon, read_percent
from cart.ids import parse_sku
from checkout.coupon_desk import CouponDesk, CouponInvalid, CouponNotFound, CouponOffer
from checkout.ports.inventory import UnitsOutOfRange
from gateway.control.commands import Command, CommandFailed


class CouponCommands:
    """Any worker can run them: coupons are in the store."""

    def __init__(self, desk: CouponDesk) -> None:
        self._desk = desk

    @property
    def by_name(self) -> Mapping[str, Command]:
        """Every command by its name on the control socket."""
        return {
            "list_coupons": self._list,
            "show_coupon": self._show,
            "put_coupon": self._put,
            "remove_coupon": self._remove,
            "change_coupon_uses": self._change_uses,
        }

    async def _list(self, arguments: dict[str, Any]) -> Any:
        return [state.members() for state in await self._desk.page(limit=arguments["limit"], after=arguments["after"])]

    async def _show(self, arguments: dict[str, Any]) -> Any:
        """The coupon; None if there is none of this code."""

        async def act() -> Any:
            return (await self._desk.show(arguments["code"])).members()

        return await _known(act())

    async def _put(self, arguments: dict[str, Any]) -> Any:
        async def act() -> Any:
            told = arguments["offer"]
            return (await self._desk.put(_offer(arguments["code"], told), uses=told.get("uses"))).members()

        return await _known(act())

    async def _remove(self, arguments: dict[str, Any]) -> Any:
        async def act() -> Any:
            await self._desk.remove(arguments["code"])
            return {"code": arguments["code"].upper()}

        return await _known(act())

    async def _change_uses(self, arguments: dict[str, Any]) -> Any:
        async def act() -> Any:
            code, key = arguments["code"], arguments["key"]
            if "set" in arguments:
                change = await self._desk.set_uses(code, arguments["set"], key=key)
            else:
                change = await self._desk.add_uses(code, arguments["add"], key=key)
            return msgspec.to_builtins(change)

        return await _known(act())


async def _known(act: Awaitable[Any]) -> Any:
    try:
        return await act
    except CouponNotFound:
        return None
    except UnitsOutOfRange as error:
        raise CommandFailed(f"only {error.available} uses are left") from None
    except (CouponInvalid, ValueError) as error:
        raise CommandFailed(f"the coupon {error}") from None


def _offer(code: str, told: Mapping[str, Any]) -> CouponOffer:
    """The offer of a request. Raises `ValueError`."""
    skus = [parse_sku(name) for name in told.get("skus", ())]
    if None in skus:
        raise ValueError("names a text that is no SKU")
    start, until, percent = told.get("from"), told.get("until"), told.get("percent")
    rule = Coupon(
        percent=0 if percent is None else read_percent(f"{percent:g}"),
        amount=told.get("amount") or 0,
        free_shipping=told.get("free_shipping", False),
        currency=told.get("currency") or "",
        minimum=told.get("minimum") or 0,
        starts_at=0 if start is None else read_instant(start),
        ends_at=None if until is None else read_instant(until),
        skus=tuple(sku for sku in skus if sku is not None),
    )
    return CouponOffer(code=code, name=told["name"], rule=rule, per_shopper=told.get("per_shopper") or 0)
