"""The SKUs that were just refused for lack of stock, so that the crowd behind the last unit does not ask the store for more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from cart.model import Sku
from checkout.errors import Shortage
from checkout.ports.stock_notices import StockNotices

# Also without a notice, a returned unit is for sale again after this time.
REMEMBERED_S: Final = 1.0
# After the last refusal: a crowd comes back, and a subscription costs a call.
LISTENING_S: Final = 10.0
# A drop has a few hot SKUs; each checkout compares its cart with all of them.
MAX_SKUS: Final = 32

_NONE: Final[Mapping[Sku, int]] = MappingProxyType({})


class SoldOut:
    """Remembers for `REMEMBERED_S` how few units of a SKU were left, or until some are for sale again.

    Of a SKU with one unit left, a checkout of two is refused and one of one is not. Units that are sold meanwhile are not
    noticed: then the store refuses. At most `MAX_SKUS` are remembered; the store refuses the others.
    """

    def __init__(self, notices: StockNotices | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        # Checkouts that were refused from memory.
        self.refused = 0
        self._notices = notices
        self._clock = clock
        self._left: dict[Sku, int] = {}
        self._refused_at: dict[Sku, float] = {}
        self._listeners: dict[Sku, Callable[[], None]] = {}

    def units_left(self) -> Mapping[Sku, int]:
        """The units of each SKU that is remembered now."""
        if not self._refused_at:
            return _NONE
        now = self._clock()
        for sku, refused_at in list(self._refused_at.items()):
            if now - refused_at >= REMEMBERED_S:
                self._left.pop(sku, None)
            if now - refused_at >= LISTENING_S:
                self._forget(sku)
        return self._left

    def remember(self, shortages: Iterable[Shortage]) -> None:
        """The store has refused these lines."""
        for shortage in shortages:
            if shortage.sku in self._refused_at or len(self._refused_at) < MAX_SKUS:
                self._left[shortage.sku] = shortage.available
                self._refused_at[shortage.sku] = self._clock()
                self._listen(shortage.sku)

    def _listen(self, sku: Sku) -> None:
        def returned() -> None:
            self._left.pop(sku, None)

        if self._notices is not None and sku not in self._listeners:
            self._listeners[sku] = returned
            self._notices.listen(sku, returned)

    def _forget(self, sku: Sku) -> None:
        del self._refused_at[sku]
        listener = self._listeners.pop(sku, None)
        if self._notices is not None and listener is not None:
            self._notices.forget(sku, listener)
