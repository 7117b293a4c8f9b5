"""The cart calls as plain typed coroutines: no HTTP, no store, only the two ports."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cart.bodies import AddLine, MergeCart, NewCart, PutCoupon, PutLine, SetLine
from cart.cart_view_cache import CartViewCache
from cart.coupons import MARK, CouponFault, is_coupon, parse_code
from cart.currencies import BAD_CURRENCY, is_currency
from cart.errors import (
    CartClosed,
    CartFull,
    CartNotFound,
    CouponRefused,
    ForeignCurrency,
    HoldNotExtendable,
    Interrupted,
    InvalidBody,
    LineNotFound,
    ProductNotFound,
    QuantityLimit,
    SignInRequired,
)
from cart.idempotency import keyed
from cart.ids import SKU_RULE, new_cart_id, new_own_cart_id, parse_cart_id, parse_sku
from cart.line_holds import NO_HOLDS, LineHolds
from cart.model import NO_TERMS, STALE_PRICES, Cart, CartId, Limits, Line, Product, Sku
from cart.ports import SEVERAL_CURRENCIES, CartHolds, Carts, PriceBook, Write
from cart.stock_watch import NONE_SHORT, StockWatch
from cart.timestamps import unix_ms
from cart.view import CartView
from primitives.outages import is_outage, may_have_run


class CartHandlers:
    """The cart calls of shoppers.

    Every call takes the signed-in shopper as `owner`: a cart that has another owner is not found; one without an owner is
    open to every client that knows its id. `if_match` is the version the cart must have for a write, -1 for one that never matches.
    `key` is the idempotency key of a write, text of the client's choice: a write that is repeated with its key is done once, and
    returns the cart as it is now. Malformed cart ids are carts that do not exist. Besides their own errors, all raise
    `CartNotFound`, and writes raise `CartClosed`, `VersionMismatch`, and with a key `IdempotencyKeyReused` and
    `IdempotencyKeyMissing` for one that is invalid.
    """

    def __init__(
        self,
        carts: Carts,
        prices: PriceBook,
        *,
        default_currency: str = "GBP",
        max_lines: int = 1000,
        max_quantity: int = 10_000,
        anonymous_ttl_s: int = 30 * 86_400,
        owned_ttl_s: int = 90 * 86_400,
        clock_ms: Callable[[], int] = unix_ms,
        random_bytes: Callable[[int], bytes] = os.urandom,
        cached_view_bytes: int = 16 * 1024 * 1024,
        stock: StockWatch | None = None,
        show_stock: bool = True,
        holds: CartHolds | None = None,
    ) -> None:
        """With `stock`, lines of open carts say when they exceed it, and by `show_stock` how many units there are.

        With `holds`, units of products that have a time for it (`Terms.hold_at_cart`) are held for the carts.
        """
        self._carts = carts
        self._prices = prices
        self._default_currency = default_currency
        self._limits = Limits(
            max_lines=max_lines,
            max_quantity=max_quantity,
            anonymous_ttl_ms=anonymous_ttl_s * 1000,
            owned_ttl_ms=owned_ttl_s * 1000,
        )
        self._clock_ms = clock_ms
        self._random_bytes = random_bytes
        self._views = CartViewCache(max_bytes=cached_view_bytes)
        self._stock = stock
        self._show_stock = show_stock
        self._holds = None if holds is None else LineHolds(holds, prices)
        if stock is not None:
            stock.on_change = self._views.clear

    async def create(self, new: NewCart, *, owner: str | None = None) -> CartView:
        """Make an empty cart. Raises `InvalidBody` for a currency that ISO 4217 does not have."""
        if new.currency is not None and not is_currency(new.currency):
            raise InvalidBody([("/currency", BAD_CURRENCY)])
        cart = self._new_cart(new_cart_id(self._random_bytes), new.currency or self._default_currency, owner)
        await self._carts.create(cart, limits=self._limits)
        return await self._view(cart)

    async def open_as(self, cart_id: CartId, currency: str) -> CartView:
        """The anonymous cart with this id, as it is; an empty one is made where there is none.

        For callers whose ids follow from a secret of theirs. One process at a time may call it for an id.
        """
        try:
            return await self._view(await self._carts.read(cart_id))
        except CartNotFound:
            cart = self._new_cart(cart_id, currency, None)
            await self._carts.create(cart, limits=self._limits)
            return await self._view(cart)

    async def read_own(self, *, owner: str | None) -> CartView:
        """The own cart of the signed-in shopper; an empty one is made where there is none, or it is ordered or merged.

        Raises `SignInRequired`.
        """
        if owner is None:
            raise SignInRequired
        cart = self._new_cart(new_own_cart_id(owner, self._random_bytes), self._default_currency, owner)
        return await self._view(await self._carts.own(cart, limits=self._limits))

    def _new_cart(self, cart_id: CartId, currency: str, owner: str | None) -> Cart:
        now = self._clock_ms()
        return Cart(id=cart_id, currency=currency, created_at=now, updated_at=now, owner=owner)

    async def read(self, cart_id: str, *, owner: str | None = None) -> CartView:
        """The cart at the prices of now."""
        return await self._view(await self._carts.read(_parsed(cart_id), owner=owner))

    async def add_line(
        self,
        cart_id: str,
        line: AddLine,
        *,
        if_match: int | None = None,
        owner: str | None = None,
        key: str | None = None,
    ) -> CartView:
        """Add to the line of a SKU, or start it.

        Raises `ProductNotFound`, `QuantityLimit`, `CartFull`, and `InvalidBody` for a SKU that is malformed or priced in
        another currency than the cart's.
        """
        target = _parsed(cart_id)
        sku = parse_sku(line.sku)
        if sku is None:
            raise InvalidBody([("/sku", SKU_RULE)])
        added, currency = await self._priced(sku, line.quantity)
        write = self._write(if_match, owner, key, "add", line)
        try:
            cart = await self._carts.add_line(target, added, currency=currency, write=write)
        except ForeignCurrency as refused:
            raise _foreign_sku(refused) from None
        return await self._view_written(cart, (sku,))

    async def put_line(
        self,
        cart_id: str,
        sku: str,
        body: PutLine,
        *,
        if_match: int | None = None,
        owner: str | None = None,
        key: str | None = None,
    ) -> CartView:
        """Set the quantity of a line, starting it if it is absent; 0 is `delete_line`.

        Raises `ProductNotFound`, `QuantityLimit`, `CartFull`, `LineNotFound`, and `InvalidBody` as `add_line` does.
        """
        if body.quantity == 0:
            return await self.delete_line(cart_id, sku, if_match=if_match, owner=owner, key=key)
        target = _parsed(cart_id)
        parsed_sku = parse_sku(sku)
        if parsed_sku is None:
            raise ProductNotFound(sku)
        line, currency = await self._priced(parsed_sku, body.quantity)
        write = self._write(if_match, owner, key, "put", parsed_sku, body)
        try:
            cart = await self._carts.set_lines(target, [line], currency=currency, write=write)
        except ForeignCurrency as refused:
            raise _foreign_sku(refused) from None
        return await self._view_written(cart, (parsed_sku,))

    async def delete_line(
        self, cart_id: str, sku: str, *, if_match: int | None = None, owner: str | None = None, key: str | None = None
    ) -> CartView:
        """Remove a line. Raises `LineNotFound`."""
        target = _parsed(cart_id)
        parsed_sku = parse_sku(sku)
        if parsed_sku is None:
            raise LineNotFound(sku)
        write = self._write(if_match, owner, key, "remove", parsed_sku)
        cart = await self._carts.remove_line(target, parsed_sku, write=write)
        return await self._view_written(cart, (parsed_sku,))

    async def patch_lines(
        self,
        cart_id: str,
        lines: Sequence[SetLine],
        *,
        if_match: int | None = None,
        owner: str | None = None,
        key: str | None = None,
    ) -> CartView:
        """Set many lines, all or none. Quantity 0 removes; removing a line that is absent already is no fault.

        Raises `ProductNotFound`, `QuantityLimit`, `CartFull`, and `InvalidBody` for SKUs that are malformed, named twice or
        priced in another currency than the cart's, and for more lines than a cart may have.
        """
        target = _parsed(cart_id)
        skus = self._checked(lines)
        products = await self._products_for_write(skus, is_written=False)
        priced = [_line(sku, each.quantity, products.get(sku)) for sku, each in zip(skus, lines, strict=True)]
        currencies = {products[sku].currency for sku, each in zip(skus, lines, strict=True) if each.quantity}
        currency = SEVERAL_CURRENCIES if len(currencies) > 1 else next(iter(currencies), None)
        write = self._write(if_match, owner, key, "patch", lines)
        try:
            cart = await self._carts.set_lines(target, priced, currency=currency, write=write)
        except ForeignCurrency as refused:
            raise InvalidBody(
                [
                    (f"/{index}/sku", _foreign(refused))
                    for index, line in enumerate(priced)
                    if line.quantity and products[line.sku].currency != refused.currency
                ]
            ) from None
        return await self._view_written(cart, skus)

    async def delete(
        self, cart_id: str, *, if_match: int | None = None, owner: str | None = None, key: str | None = None
    ) -> None:
        """Delete an open cart."""
        write = self._write(if_match, owner, key, "delete")
        target = _parsed(cart_id)
        # A deleted cart has no lines whose units could be freed.
        cart = None if self._holds is None else await self._carts.read(target, owner=owner)
        await self._carts.delete(target, write=write)
        if self._holds is not None and cart is not None:
            await self._holds.free(cart)

    async def extend_hold(self, cart_id: str, sku: str, *, owner: str | None = None) -> CartView:
        """Hold the units of a line for the same time once more. Raises `LineNotFound`, `CartClosed` and `HoldNotExtendable`."""
        cart = await self._carts.read(_parsed(cart_id), owner=owner)
        if cart.status != "open":
            raise CartClosed(cart.order_id)
        parsed_sku = parse_sku(sku)
        if parsed_sku is None or parsed_sku not in cart.skus:
            raise LineNotFound(sku)
        if self._holds is None or not await self._holds.extend(cart.id, parsed_sku):
            raise HoldNotExtendable
        return await self._view(cart)

    async def merge(
        self,
        cart_id: str,
        merge: MergeCart,
        *,
        if_match: int | None = None,
        owner: str | None = None,
        key: str | None = None,
    ) -> CartView:
        """Take the lines of another cart into this one and close the other. Repeating a finished merge changes nothing.

        Raises `QuantityLimit`, `CartFull`, and `InvalidBody` for a source that is this cart or is in another currency.
        """
        target = _parsed(cart_id)
        source = _parsed(merge.source)
        if source == target:
            raise InvalidBody([("/from", "must be another cart")])
        write = self._write(if_match, owner, key, "merge", merge)
        try:
            cart = await self._carts.merge(target, source, merge.strategy, write=write)
        except ForeignCurrency as refused:
            raise InvalidBody([("/from", _foreign(refused))]) from None
        return await self._view_written(cart, cart.skus, merged=source)

    async def put_coupon(
        self,
        cart_id: str,
        body: PutCoupon,
        *,
        if_match: int | None = None,
        owner: str | None = None,
        key: str | None = None,
    ) -> CartView:
        """Give the cart a coupon, in place of one that it has. Whether it counts, its lines and the time decide at every reading.

        Raises `CouponRefused` for a code that nobody can use now, and `CartFull`: it takes the place of a line.
        """
        target = _parsed(cart_id)
        code = parse_code(body.code)
        if code is None:
            raise CouponRefused(body.code, CouponFault.UNKNOWN)
        sku = Sku(MARK + code)
        product = (await self._products_for_write((sku,), is_written=False)).get(sku)
        coupon = None if product is None else product.terms.coupon
        fault = CouponFault.UNKNOWN if coupon is None else coupon.time_fault(self._clock_ms())
        if fault is not None:
            raise CouponRefused(code, fault)
        others = [line.sku for line in (await self._carts.read(target, owner=owner)).lines if is_coupon(line.sku)]
        lines = [*(Line(other, 0, 0) for other in others if other != sku), Line(sku, 1, 0)]
        write = self._write(if_match, owner, key, "coupon", body)
        return await self._view(await self._carts.set_lines(target, lines, currency=None, write=write), is_written=True)

    async def delete_coupon(
        self, cart_id: str, *, if_match: int | None = None, owner: str | None = None, key: str | None = None
    ) -> CartView:
        """Take the coupon from the cart, if it has one."""
        target = _parsed(cart_id)
        lines = (await self._carts.read(target, owner=owner)).lines
        gone = [Line(line.sku, 0, 0) for line in lines if is_coupon(line.sku)]
        write = self._write(if_match, owner, key, "no coupon")
        return await self._view(await self._carts.set_lines(target, gone, currency=None, write=write), is_written=True)

    async def _priced(self, sku: Sku, quantity: int) -> tuple[Line, str]:
        """A line at the price of now, and the currency it is priced in."""
        if quantity > self._limits.max_quantity:
            raise QuantityLimit(self._limits.max_quantity)
        product = self._prices.current.get(sku)
        if product is None:
            product = (await self._products_for_write((sku,), is_written=False)).get(sku)
        if product is None:
            raise ProductNotFound(sku)
        return Line(sku, quantity, product.price), product.currency

    def _checked(self, lines: Sequence[SetLine]) -> list[Sku]:
        """The SKUs of a batch, after the checks that need only the body."""
        max_lines, max_quantity = self._limits.max_lines, self._limits.max_quantity
        if sum(1 for line in lines if line.quantity) > max_lines:
            raise CartFull(max_lines)
        if len(lines) > max_lines:
            raise InvalidBody([("", f"must have at most {max_lines} lines")])
        if any(line.quantity > max_quantity for line in lines):
            raise QuantityLimit(max_quantity)
        errors = []
        indexes: dict[Sku, int] = {}
        for index, line in enumerate(lines):
            sku = parse_sku(line.sku)
            if sku is None:
                errors.append((f"/{index}/sku", SKU_RULE))
            elif indexes.setdefault(sku, index) != index:
                errors.append((f"/{index}/sku", f"is named already at /{indexes[sku]}/sku"))
        if errors:
            raise InvalidBody(errors)
        return list(indexes)

    def _write(self, if_match: int | None, owner: str | None, key: str | None, *what: Any) -> Write:
        """The write that does `what`; that belongs to its idempotency key, if it has one."""
        write = Write(now=self._clock_ms(), limits=self._limits, if_match=if_match, owner=owner)
        return write if key is None else keyed(write, key, *what)

    async def _products_for_write(self, skus: Sequence[Sku], *, is_written: bool) -> Mapping[Sku, Product]:
        """The products of these SKUs, before or after a write: its error says whether the cart was changed."""
        try:
            return await self._prices.products(skus)
        except Exception as error:
            if is_outage(error) and (is_written or may_have_run(error)):
                interrupted = Interrupted(may_have_run=is_written)
                interrupted.__cause__ = error  # `from` loses it in the compiled module
                raise interrupted from error
            raise

    async def _view_written(self, cart: Cart, skus: Sequence[Sku], *, merged: CartId | None = None) -> CartView:
        """The view after a write of the lines of these SKUs."""
        if self._holds is not None:
            await self._holds.follow(cart, skus, merged=merged)
        return await self._view(cart, is_written=True)

    async def _view(self, cart: Cart, *, is_written: bool = False) -> CartView:
        cached = self._views.view_of(cart, self._prices.current)
        if cached is not None:
            return cached
        products = self._prices.current
        if not _has_all(products, cart):
            if is_written:
                products = await self._products_for_write(cart.skus, is_written=True)
            else:
                products = await self._prices.products(cart.skus)
        short: Mapping[Sku, int] = NONE_SHORT
        stock = self._stock
        if stock is not None and cart.status == "open":
            found = stock.shortages(cart.lines)
            if found is None:
                await stock.fetch(cart.skus)
                return await self._view(cart, is_written=is_written)  # prices may have changed meanwhile
            short = found
        may_hold = self._holds_of(cart, products)
        held = NO_HOLDS
        if may_hold and self._holds is not None:
            held = await self._holds.of(cart, may_hold)
        # The mapping is replaced when `is_stale` changes, so a cached view has the right value.
        degraded = STALE_PRICES if self._prices.is_stale else ()
        view = CartView(
            cart,
            products,
            expires_at=cart.expires_at(self._limits),
            now=self._clock_ms(),
            degraded=degraded,
            short=short,
            show_stock=self._show_stock,
            holds=held,
        )
        if (
            not view.has_coupon and not may_hold and _has_all(products, cart)
        ):  # an unknown SKU may be added to the same mapping later
            self._views.store(view, products)
        return view

    def _holds_of(self, cart: Cart, products: Mapping[Sku, Product]) -> Sequence[Sku]:
        """The SKUs whose units may be held for the cart."""
        if self._holds is None or cart.status != "open":
            return ()
        held: list[Sku] = []
        for line in cart.lines:
            product = products.get(line.sku)
            # Nearly all products have no terms at all.
            if product is not None and product.terms is not NO_TERMS and product.terms.hold_at_cart > 0:
                held.append(line.sku)
        return held


def _has_all(products: Mapping[Sku, Product], cart: Cart) -> bool:
    return all(line.sku in products for line in cart.lines)


def _parsed(cart_id: str) -> CartId:
    parsed = parse_cart_id(cart_id)
    if parsed is None:
        raise CartNotFound
    return parsed


def _line(sku: Sku, quantity: int, product: Product | None) -> Line:
    if quantity == 0:
        return Line(sku, 0, 0)
    if product is None:
        raise ProductNotFound(sku)
    return Line(sku, quantity, product.price)


def _foreign_sku(refused: ForeignCurrency) -> InvalidBody:
    return InvalidBody([("/sku", _foreign(refused))])


def _foreign(refused: ForeignCurrency) -> str:
    return f"is not priced in {refused.currency}, the currency of the cart"
