"""Notices that units of a SKU are for sale again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cart.model import Sku


class StockNotices(Protocol):
    """Calls listeners when units of a SKU were returned, counted or added. A notice may be lost, or come without a cause."""

    def listen(self, sku: Sku, listener: Callable[[], None]) -> None:
        """Call `listener` at each notice; it neither waits nor raises."""
        ...

    def forget(self, sku: Sku, listener: Callable[[], None]) -> None:
        """Call it no more."""
        ...
