"""Cart reads and adds with FastAPI, uvicorn and redis-py: `python fastapi_cart.py PORT STORE_SOCKET`."""
# FastAPI is installed where this runs, not where types are checked: its decorators and models are unknown there.
# mypy: ignore-errors

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import redis.asyncio
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

KEPT_MS = 90 * 24 * 3600 * 1000
PLACE = 1 << 20
MOST_A_SECOND = 1_000_000
HERE = Path(__file__).parent


class Money(BaseModel):
    """An amount in minor units."""

    amount: int
    currency: str


class Line(BaseModel):
    """A line at the price of now."""

    sku: str
    name: str
    quantity: int
    unit_price: Money
    total: Money


class Cart(BaseModel):
    """The response."""

    id: str
    version: int
    currency: str
    status: str
    lines: list[Line]
    item_count: int
    subtotal: Money
    discounts: list[str]
    total: Money
    created_at: str
    updated_at: str
    expires_at: str


class AddLine(BaseModel):
    """The line to add."""

    model_config = ConfigDict(extra="forbid")

    sku: Annotated[str, Field(min_length=1, max_length=64)]
    quantity: Annotated[int, Field(ge=1, le=10_000)]


port, store_socket = sys.argv[1:]
store = redis.asyncio.Redis(unix_socket_path=store_socket, decode_responses=True)
add_to_line = store.register_script((HERE / "add_line.lua").read_text())
take = store.register_script((HERE / "take.lua").read_text())
products: dict[str, tuple[str, int]] = {}


async def limited(request: Request) -> None:
    """Hold each client to its quota."""
    if await take(keys=[f"peer:{request.client.host}"], args=[1000]) > MOST_A_SECOND:
        raise HTTPException(429, "Too many requests", {"Retry-After": "1"})


app = FastAPI(dependencies=[Depends(limited)])


@app.get("/v1/carts/{cart_id}")
async def read_cart(cart_id: str) -> Cart:
    """The cart at the prices of now."""
    fields = await store.hgetall(key_of(cart_id))
    if not fields:
        raise HTTPException(404, "Cart not found")
    return await view(cart_id, fields)


@app.post("/v1/carts/{cart_id}/lines")
async def add_line(cart_id: str, line: AddLine) -> Cart:
    """Add to the line of a SKU, or start it."""
    _, price = await product_of(line.sku)
    now_ms = int(time.time() * 1000)
    flat = await add_to_line(keys=[key_of(cart_id)], args=[line.sku, line.quantity, price, now_ms, KEPT_MS])
    if not flat:
        raise HTTPException(404, "Cart not found")
    # RESP3 knows maps, but not those that a script makes.
    return await view(cart_id, dict(zip(flat[::2], flat[1::2], strict=True)))


async def product_of(sku: str) -> tuple[str, int]:
    """Name and price of a product."""
    if sku not in products:
        name, price = await store.hmget(f"{{{sku}}}p", "name", "price")
        if price is None:
            raise HTTPException(404, "Product not found")
        products[sku] = name, int(price)
    return products[sku]


async def view(cart_id: str, fields: dict[str, str]) -> Cart:
    """A cart as shoppers see it."""
    currency = fields["\1c"]
    held = sorted((int(value.partition(" ")[0]), sku) for sku, value in fields.items() if sku[0] != "\1")
    lines = []
    item_count = subtotal = 0
    for packed, sku in held:
        name, price = await product_of(sku)
        quantity = packed % PLACE
        total = price * quantity
        item_count += quantity
        subtotal += total
        lines.append(
            Line(
                sku=sku,
                name=name,
                quantity=quantity,
                unit_price=Money(amount=price, currency=currency),
                total=Money(amount=total, currency=currency),
            )
        )
    updated_at = int(fields["\1u"])
    return Cart(
        id=cart_id,
        version=int(fields["\1v"]),
        currency=currency,
        status=fields.get("\1s", "open"),
        lines=lines,
        item_count=item_count,
        subtotal=Money(amount=subtotal, currency=currency),
        discounts=[],
        total=Money(amount=subtotal, currency=currency),
        created_at=rfc3339(int(fields["\1t"])),
        updated_at=rfc3339(updated_at),
        expires_at=rfc3339(updated_at + KEPT_MS),
    )


def key_of(cart_id: str) -> str:
    """The key of a cart's hash; see cart/stored.py."""
    return f"{{{cart_id[:2]}}}c:{cart_id}"


def rfc3339(at_ms: int) -> str:
    """A time in Unix milliseconds in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        proxy_headers=True,
        forwarded_allow_ips="127.0.0.1",
    )
