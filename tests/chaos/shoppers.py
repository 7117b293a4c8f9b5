"""Shoppers who repeat what was not answered, with the same key, until it is; they record what they saw."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import aiohttp

from benchmarks.replay.retail import Basket
from cart.coupons import CouponFault
from tests.chaos.history import UNKNOWN, History, Operation
from tests.chaos.models import CLOSED, MISSING, Lines, lines_of
from tests.waiting import WITHIN_S

# Approved, declined, and approved after a while.
TOKENS: Final = (*["tok_ok"] * 94, *["tok_declined"] * 3, *["tok_slow"] * 3)
# Answers that say to try again.
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSALS: Final = {"/problems/cart-closed": CLOSED, "/problems/line-not-found": MISSING}
_PAUSE_S: Final = 0.05
_SKUS_OF_A_SHARED_CART: Final = ("85123A", "22423")


class Answer(NamedTuple):
    """A response that was no failure, to a request that was sent at `asked_s`."""

    status: int
    body: Any
    asked_s: float
    is_repeated: bool


class Accepted(NamedTuple):
    """An order that was answered with 202, and when it was asked for."""

    lines: Lines
    asked_s: float
    coupon: str | None


@dataclass
class Seen:
    """What all shoppers saw; `accepted` has orders by id, `faults` counts those that are over."""

    history: History = field(default_factory=History)
    accepted: dict[str, Accepted] = field(default_factory=dict)
    faults: int = 0
    sold_out: int = 0
    without_coupon: int = 0
    carts_lost: int = 0
    retries: int = 0


class Shoppers:
    """Shoppers of one shop."""

    def __init__(self, session: aiohttp.ClientSession, url: str, rng: random.Random, seen: Seen) -> None:
        self._session = session
        self._url = url
        self._rng = rng
        self._seen = seen

    async def buy(self, basket: Basket) -> None:
        """Put a recorded basket into a cart, and order it."""
        await self._check_out(await self._filled_cart(basket))

    async def buy_with_coupon(self, basket: Basket, code: str) -> None:
        """Order a recorded basket with a coupon that everybody wants, or without where it is used up."""
        cart_id = await self._filled_cart(basket)
        began_s = time.monotonic()
        await self._change("PUT", f"/v1/carts/{cart_id}/coupon", {"code": code})
        is_used = await self._check_out(cart_id) is not None
        self._seen.history.add(f"coupon {code}", Operation("take", 1, is_used, began_s, time.monotonic()))
        if not is_used:
            await self._change("DELETE", f"/v1/carts/{cart_id}/coupon", None)
            await self._check_out(cart_id)

    async def buy_from_drop_with_coupon(self, sku: str, code: str) -> None:
        """Try to get one unit with a coupon, and then without.

        Neither is in the history: a checkout that is refused for the one may have held the other for a moment.
        """
        cart_id = await self._new_cart()
        await self._change("POST", f"/v1/carts/{cart_id}/lines", {"sku": sku, "quantity": 1})
        await self._change("PUT", f"/v1/carts/{cart_id}/coupon", {"code": code})
        if await self._check_out(cart_id) is None:
            await self._change("DELETE", f"/v1/carts/{cart_id}/coupon", None)
            await self._check_out(cart_id)

    async def _filled_cart(self, basket: Basket) -> str:
        cart_id = await self._new_cart()
        lines = [{"sku": sku, "quantity": quantity} for sku, quantity in basket.quantities().items()]
        for begin in range(0, len(lines), 100):
            await self._change("PATCH", f"/v1/carts/{cart_id}/lines", lines[begin : begin + 100])
        return cart_id

    async def buy_from_drop(self, sku: str) -> None:
        """Try to get one unit of a product that everybody wants."""
        cart_id = await self._new_cart()
        await self._change("POST", f"/v1/carts/{cart_id}/lines", {"sku": sku, "quantity": 1})
        began_s = time.monotonic()
        is_taken = await self._check_out(cart_id) is not None
        self._seen.history.add(f"stock {sku}", Operation("take", 1, is_taken, began_s, time.monotonic()))

    async def share_a_cart(self, changes: int) -> None:
        """Three change one cart at once; then one orders it while two still change it."""
        cart_id = await self._new_cart()
        await self._add(cart_id, _SKUS_OF_A_SHARED_CART[0])
        await asyncio.gather(*(self._change_at_random(cart_id, changes) for _ in range(3)))
        await asyncio.gather(
            self._change_at_random(cart_id, changes),
            self._change_at_random(cart_id, changes),
            self._order_shared(cart_id),
        )

    async def _change_at_random(self, cart_id: str, changes: int) -> None:
        for _ in range(changes):
            sku = self._rng.choice(_SKUS_OF_A_SHARED_CART)
            await self._rng.choice((self._add, self._set, self._remove, self._read))(cart_id, sku)

    async def _add(self, cart_id: str, sku: str) -> None:
        began_s, quantity = time.monotonic(), self._rng.randint(1, 5)
        answer = await self._change("POST", f"/v1/carts/{cart_id}/lines", {"sku": sku, "quantity": quantity})
        self._record(cart_id, "add", (sku, quantity), began_s, answer)

    async def _set(self, cart_id: str, sku: str) -> None:
        began_s, quantity = time.monotonic(), self._rng.randint(1, 5)
        answer = await self._change("PUT", f"/v1/carts/{cart_id}/lines/{sku}", {"quantity": quantity})
        self._record(cart_id, "set", (sku, quantity), began_s, answer)

    async def _remove(self, cart_id: str, sku: str) -> None:
        began_s = time.monotonic()
        answer = await self._change("PUT", f"/v1/carts/{cart_id}/lines/{sku}", {"quantity": 0})
        self._record(cart_id, "remove", sku, began_s, answer)

    async def _read(self, cart_id: str, _sku: str) -> None:
        began_s = time.monotonic()
        self._record(cart_id, "read", None, began_s, await self._until_answered("GET", f"/v1/carts/{cart_id}"))

    async def _order_shared(self, cart_id: str) -> None:
        """An empty cart cannot be ordered, which says something of its lines too."""
        began_s = time.monotonic()
        lines = await self._check_out(cart_id) or ()
        self._seen.history.add(f"cart {cart_id}", Operation("order", None, lines, began_s, time.monotonic()))

    def _record(self, cart_id: str, name: str, argument: Any, began_s: float, answer: Answer) -> None:
        """A change that was repeated returns the cart as it is then, not as the change left it."""
        key, result, now_s = f"cart {cart_id}", _lines(answer), time.monotonic()
        if answer.is_repeated and isinstance(result, tuple):
            self._seen.history.add(key, Operation(name, argument, UNKNOWN, began_s, now_s))
            self._seen.history.add(key, Operation("read", None, result, answer.asked_s, now_s))
        else:
            self._seen.history.add(key, Operation(name, argument, result, began_s, now_s))

    async def _new_cart(self) -> str:
        return str((await self._until_answered("POST", "/v1/carts", {})).body["id"])

    async def _change(self, method: str, path: str, body: Any) -> Answer:
        return await self._until_answered(method, path, body, key=f"{self._rng.getrandbits(128):032x}")

    async def _check_out(self, cart_id: str) -> Lines | None:
        """The lines of the order; None where something is sold out, the coupon is used up, or the cart is empty."""
        body = {
            "cart_id": cart_id,
            "email": "ada@example.com",
            "shipping_address": {
                "name": "Ada", "line1": "1 Row", "city": "London", "postcode": "N1 1AA", "country": "GB",
            },
            "payment": {"token": self._rng.choice(TOKENS)},
        }  # fmt: skip
        asked_s = time.monotonic()
        while True:
            answer = await self._until_answered("POST", "/v1/checkout", body, key=f"order of {cart_id}")
            if answer.status == 202:
                lines = lines_of({line["sku"]: line["quantity"] for line in answer.body["lines"]})
                coupon = next((discount["code"] for discount in answer.body["discounts"]), None)
                self._seen.accepted[answer.body["id"]] = Accepted(lines, asked_s, coupon)
                return lines
            problem = answer.body["type"].rpartition("/")[2]
            if problem == "cart-empty":
                return None
            if problem == "out-of-stock":
                self._seen.sold_out += 1
                return None
            if problem == "coupon-refused":
                assert answer.body["reason"] == CouponFault.USED_UP, answer
                self._seen.without_coupon += 1
                return None
            if problem == "cart-not-found":
                self._seen.carts_lost += 1
                return None
            # The attempt before is still under way.
            assert problem == "idempotency-key-in-progress", answer
            await asyncio.sleep(_PAUSE_S)

    async def _until_answered(self, method: str, path: str, body: Any = None, *, key: str = "") -> Answer:
        headers = {"Idempotency-Key": key} if key else {}
        began_s = asked_s = time.monotonic()
        while asked_s < began_s + WITHIN_S:
            try:
                async with self._session.request(method, self._url + path, json=body, headers=headers) as response:
                    if response.status not in _AGAIN:
                        content = await response.json(content_type=None)
                        return Answer(response.status, content, asked_s, is_repeated=asked_s > began_s)
            except (aiohttp.ClientError, TimeoutError):
                pass
            self._seen.retries += 1
            await asyncio.sleep(_PAUSE_S * (0.5 + self._rng.random()))
            asked_s = time.monotonic()
        raise AssertionError(f"{method} {path} had no answer within {WITHIN_S:g} s")


def _lines(answer: Answer) -> Lines | str:
    if answer.status in {404, 409}:
        return _REFUSALS[answer.body["type"]]
    assert answer.status == 200, answer
    return lines_of({line["sku"]: line["quantity"] for line in answer.body["lines"]})
