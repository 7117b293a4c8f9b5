from collections.abc import Mapping

import pytest

from cart.catalog.memory import MemoryCatalog, MemorySearch
from cart.catalog.model import CatalogRow
from cart.catalog.price_desk import PriceDesk
from cart.model import Sku
from gateway.admin.price_commands import PriceCommands
from gateway.control.commands import Command, CommandFailed

TIMES = {"from": "2026-11-27T06:00Z", "until": "2026-11-28T06:00Z", "replace": False}


@pytest.fixture
async def catalog() -> MemoryCatalog:
    catalog = MemoryCatalog(now_ms=lambda: 0)
    await catalog.put([CatalogRow(Sku("85123A"), "a mug", 255, "GBP", 9)])
    return catalog


@pytest.fixture
def commands(catalog: MemoryCatalog) -> Mapping[str, Command]:
    return PriceCommands(PriceDesk(catalog, MemorySearch(), lease_wait_s=0.01, now_ms=lambda: 0)).by_name


async def test_prices_are_shown_set_scheduled_and_cleared(commands: Mapping[str, Command]) -> None:
    assert (await commands["set_price"]({"sku": " 85123A", "price": 295}))["ordinary_price"]
    event = {"prices": [["85123A", 199]], **TIMES}
    assert await commands["schedule_prices"](event) == {"scheduled": 1, "unchanged": 0}
    assert await commands["schedule_prices"](event) == {"scheduled": 0, "unchanged": 1}
    shown = await commands["show_prices"]({"sku": "85123A"})
    assert [each["until"] for each in shown["scheduled"]] == ["2026-11-28T06:00:00.000Z"]
    assert (shown["price"].amount, shown["ordinary_price"].amount) == (295, 295)
    assert (await commands["clear_prices"]({"sku": "85123A"}))["scheduled"] == []


@pytest.mark.parametrize("name", ["show_prices", "set_price", "clear_prices"])
async def test_a_product_that_is_not_there_is_none(commands: Mapping[str, Command], name: str) -> None:
    assert await commands[name]({"sku": "unheard of", "price": 1}) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"prices": [["Z", 1]]}, "'Z' is not in the catalogue"),
        ({"prices": [["85123A", 1], ["85123A ", 1]]}, "a SKU is named twice"),
        ({"prices": [["a\\b", 1]]}, "is no SKU"),
        ({"from": "2026-11-27T06:00"}, "the request has no time with its offset"),
        ({"until": "2026-11-27T06:00Z"}, "ends before it begins"),
    ],
)
async def test_a_refusal_says_why(commands: Mapping[str, Command], changes: dict[str, object], why: str) -> None:
    with pytest.raises(CommandFailed, match=why):
        await commands["schedule_prices"]({"prices": [["85123A", 199]], **TIMES, **changes})


async def test_an_import_that_runs_is_named(catalog: MemoryCatalog, commands: Mapping[str, Command]) -> None:
    async with catalog.lease(wait_s=1):
        with pytest.raises(CommandFailed, match="another import is running"):
            await commands["set_price"]({"sku": "85123A", "price": 1})
