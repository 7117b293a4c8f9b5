from collections.abc import Mapping

import pytest

from cart.ids import new_cart_id
from cart.model import OrderId, Sku
from checkout.memory.inventory import MemoryInventory
from checkout.memory.stock import MemoryStock
from checkout.ports.stock import StockLine
from gateway.admin.stock_commands import StockCommands
from gateway.control.commands import Command, CommandFailed

MUG = Sku("85123A")


@pytest.fixture
def stock() -> MemoryStock:
    return MemoryStock({MUG: 10})


@pytest.fixture
def commands(stock: MemoryStock) -> Mapping[str, Command]:
    return StockCommands(MemoryInventory(stock)).by_name


async def test_stock_is_shown_and_corrected(stock: MemoryStock, commands: Mapping[str, Command]) -> None:
    order_id = OrderId(new_cart_id())
    await stock.hold(order_id, [StockLine(MUG, 3)], fence=1)
    assert await commands["add_stock"]({"sku": "85123A", "units": 5, "key": "1"}) == {
        "before": 7,
        "after": 12,
        "is_new": True,
    }
    await commands["set_stock"]({"sku": " 85123A ", "units": 20, "key": "2"})
    assert await commands["show_stock"]({"sku": "85123A"}) == {"sku": MUG, "available": 20, "held": 3, "sold": 0}
    (held,) = (await commands["list_holds"]({"sku": "85123A", "limit": 10}))["holds"]
    assert (held["order_id"], held["quantity"]) == (order_id, 3)


@pytest.mark.parametrize("name", ["show_stock", "list_holds", "set_stock", "add_stock"])
async def test_a_product_that_is_not_there_is_none(commands: Mapping[str, Command], name: str) -> None:
    assert await commands[name]({"sku": "unheard of", "units": 1, "key": "1", "limit": 10}) is None


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("add_stock", {"sku": "85123A", "units": -11, "key": "1"}, "'85123A' has 10 units for sale"),
        ("show_stock", {"sku": "a\\b"}, "no SKU"),
        ("list_holds", {"sku": "85123A", "limit": 10, "cursor": "x"}, "cursor"),
    ],
)
async def test_a_refusal_says_why(
    commands: Mapping[str, Command], name: str, arguments: dict[str, object], why: str
) -> None:
    with pytest.raises(CommandFailed, match=why):
        await commands[name](arguments)
