"""A shopper's cart, with writes that are applied exactly once although requests and responses may be lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import orjson

from benchmarks.replay.client import ShopClient, ShopResponse
from benchmarks.replay.responses import Cart
from benchmarks.replay.retry import RetryPolicy

_TRIES_PER_WRITE: Final = 5
_LARGEST_BATCH: Final = 100


class Fault(Exception):
    """The gateway broke its contract."""


class CartLost(Exception):
    """The cart is gone, or has lost a write that was confirmed."""


@dataclass(frozen=True, slots=True)
class Write:
    """One change of a cart: the request, and the quantity of each SKU in it after the change."""

    kind: str
    method: str
    body: bytes
    leaves: dict[str, int]
    lines: int


def plan_writes(lines: Sequence[tuple[str, int]], chance: Random) -> list[Write]:
    """How a shopper puts (SKU, quantity) lines into a cart: half of the shoppers line by line, half in batches.

    A batch sets quantities, so a SKU that an earlier one brought is set to the sum of both.
    """
    one_by_one = chance.random() < 0.5
    size = 1 if one_by_one else chance.randint(2, _LARGEST_BATCH)
    in_cart: dict[str, int] = {}
    writes = []
    for start in range(0, len(lines), size):
        batch = lines[start : start + size]
        for sku, quantity in batch:
            in_cart[sku] = in_cart.get(sku, 0) + quantity
        writes.append(_adding(batch[0], in_cart) if one_by_one else _setting(batch, in_cart))
    return writes


def _adding(line: tuple[str, int], in_cart: Mapping[str, int]) -> Write:
    sku, quantity = line
    return Write("add a line", "POST", orjson.dumps({"sku": sku, "quantity": quantity}), {sku: in_cart[sku]}, 1)


def _setting(batch: Sequence[tuple[str, int]], in_cart: Mapping[str, int]) -> Write:
    leaves = {sku: in_cart[sku] for sku, _ in batch}
    body = orjson.dumps([{"sku": sku, "quantity": quantity} for sku, quantity in leaves.items()])
    return Write("set a batch of lines", "PATCH", body, leaves, len(batch))


class ShopperCart:
    """One cart of one shopper, and the quantities that the gateway has confirmed."""

    @classmethod
    async def create(cls, client: ShopClient, retry: RetryPolicy, currency: str) -> "ShopperCart":
        """Create a cart; one whose response was lost stays empty and expires."""
        body = orjson.dumps({"currency": currency})
        response = await client.call("create a cart", "POST", "/v1/carts", body=body, retry=retry)
        if response.status != 201:
            raise unexpected("creating a cart", response)
        cart = response.decode(Cart)
        retry.progressed()
        return cls(client, retry, cart.id, cart.version)

    def __init__(self, client: ShopClient, retry: RetryPolicy, cart_id: str, version: int) -> None:
        self._client = client
        self._retry = retry
        self._version = version
        self._quantities: dict[str, int] = {}
        self.id = cart_id

    async def apply(self, write: Write) -> None:
        """Make one write, once. Raises CartLost, or Fault if the gateway rejects it."""
        wanted = self._quantities | write.leaves
        for _ in range(_TRIES_PER_WRITE):
            response = await self._client.call(
                write.kind,
                write.method,
                f"/v1/carts/{self.id}/lines",
                body=write.body,
                headers={"If-Match": f'"{self._version}"'},
                retry=self._retry,
            )
            if response.status == 200:
                return self._applied(wanted, response.cart_version)
            if response.status != 412:
                raise self._refusal(f"a write ({write.kind})", response)
            # The response to an earlier attempt was lost. The cart shows whether that attempt was applied.
            seen = await self.read()
            if seen.quantities() == wanted:
                return self._applied(wanted, seen.version)
            if seen.quantities() != self._quantities:
                raise CartLost
            self._version = seen.version
        raise Fault(f"a write ({write.kind}) was rejected {_TRIES_PER_WRITE} times with 412 at the version just read")

    async def read(self) -> Cart:
        """Read the cart. Raises CartLost when it is gone."""
        response = await self._client.call("read the cart", "GET", f"/v1/carts/{self.id}", retry=self._retry)
        if response.status != 200:
            raise self._refusal("reading the cart", response)
        return response.decode(Cart)

    def _applied(self, quantities: dict[str, int], version: int) -> None:
        self._quantities = quantities
        self._version = version
        self._retry.progressed()

    def _refusal(self, what: str, response: ShopResponse) -> Exception:
        return CartLost() if response.problem == "cart-not-found" else unexpected(what, response)


def unexpected(what: str, response: ShopResponse) -> Fault:
    """The fault of a response with a status that the call must not have."""
    return Fault(f"{what} returned {response.status} {response.problem}".rstrip())
