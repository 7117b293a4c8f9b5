from __future__ import annotations

import pytest

from cart.catalog.memory import MemoryCatalog
from cart.catalog.model import CatalogRow
from cart.catalog.term_desk import TermDesk
from cart.model import Sku
from gateway.admin.term_commands import TermCommands
from gateway.control.commands import CommandFailed

MUG = Sku("85123A")
DEFAULTS = {"per_shopper": 0, "sold_ahead": "", "ahead_limit": 0, "available_on": "", "hold_at_cart": 0}


@pytest.fixture
async def catalog() -> MemoryCatalog:
    catalog = MemoryCatalog()
    await catalog.put([CatalogRow(MUG, "MUG", 255, "GBP", 5)])
    return catalog


async def test_a_changed_term_is_shown_and_announced(catalog: MemoryCatalog) -> None:
    commands, limited = TermCommands(TermDesk(catalog)).by_name, {**DEFAULTS, "per_shopper": 2}
    assert await commands["show_terms"]({"sku": MUG}) == DEFAULTS
    for _ in range(2):
        assert await commands["change_terms"]({"sku": " 85123A ", "changes": {"per_shopper": 2}}) == limited
    assert catalog.epoch == 1
    assert await commands["show_terms"]({"sku": MUG}) == limited
    assert catalog.stock[MUG] == 5


async def test_a_product_that_is_not_there_has_no_terms(catalog: MemoryCatalog) -> None:
    commands = TermCommands(TermDesk(catalog)).by_name
    for name in ("show_terms", "change_terms"):
        assert await commands[name]({"sku": "unheard of", "changes": {"per_shopper": 2}}) is None
        with pytest.raises(CommandFailed):
            await commands[name]({"sku": "a\\b", "changes": {}})
    assert await catalog.missing([Sku("unheard of")]) == ["unheard of"]
