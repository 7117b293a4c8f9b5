"""Reconciliation of a replay: expected and actual orders, units and money, and their differences."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.replay.catalogue import ShopCatalogue
from benchmarks.replay.order_states import BOUGHT
from benchmarks.replay.retail import Basket
from benchmarks.replay.shopper import Purchase


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expected totals of the baskets; money in minor units at the shop's catalogue prices."""

    baskets: int
    lines: int
    units: int
    money: int

    @classmethod
    def of(cls, baskets: Sequence[Basket], catalogue: ShopCatalogue) -> "Expectation":
        """Add the baskets up."""
        return cls(
            baskets=len(baskets),
            lines=sum(len(basket.lines) for basket in baskets),
            units=sum(basket.units for basket in baskets),
            money=sum(catalogue.cost(basket.quantities()) for basket in baskets),
        )


@dataclass(frozen=True, slots=True)
class StockCheck:
    """The shop's stock of the SKUs of the file before and after, in units."""

    before: int
    after: int
    below_zero: tuple[str, ...]

    @classmethod
    def compare(cls, before: Mapping[str, int], after: Mapping[str, int]) -> "StockCheck | None":
        """None where the shop hides the count of its stock."""
        if not before or before.keys() != after.keys():
            return None
        below_zero = tuple(sku for sku, units in after.items() if units < 0)
        return cls(sum(before.values()), sum(after.values()), below_zero)


class Reconciliation:
    """Collects the purchases and compares them with the expectation."""

    def __init__(self, expected: Expectation) -> None:
        self.expected = expected
        self.purchases: list[Purchase] = []

    def record(self, purchase: Purchase) -> None:
        """Add one basket, bought or not."""
        self.purchases.append(purchase)

    @property
    def orders(self) -> int:
        """Different orders that were accepted."""
        return len({purchase.order_id for purchase in self.purchases} - {None})

    @property
    def orders_by_state(self) -> dict[str, int]:
        """Orders by their last state."""
        return dict(Counter(purchase.state for purchase in self.purchases if purchase.state is not None))

    @property
    def bought(self) -> int:
        """Orders that were completed, with those that were shipped, delivered or returned since."""
        return sum(count for state, count in self.orders_by_state.items() if state in BOUGHT)

    @property
    def lines(self) -> int:
        """Lines of the file whose basket became an order."""
        return sum(purchase.lines for purchase in self._ordered())

    @property
    def units(self) -> int:
        """Units in the accepted orders."""
        return sum(purchase.units_ordered for purchase in self._ordered())

    @property
    def money(self) -> int:
        """Minor units in the accepted orders."""
        return sum(purchase.accepted for purchase in self._ordered())

    @property
    def carts_lost(self) -> int:
        """Carts that were lost, so that their basket was started again."""
        return sum(purchase.carts_lost for purchase in self.purchases)

    def faults(self, stock: StockCheck | None = None) -> list[str]:
        """Every difference as a sentence; empty when there is none."""
        found = [f"invoice {purchase.invoice}: {purchase.fault}" for purchase in self.purchases if purchase.fault]
        found += self._doubled()
        results = (
            ("baskets bought", self.bought, self.expected.baskets),
            ("units", self.units, self.expected.units),
            ("money", self.money, self.expected.money),
        )
        found += [f"{name}: {was:,} instead of {wanted:,}" for name, was, wanted in results if was != wanted]
        return found + (self._stock_faults(stock) if stock else [])

    def agrees_with(self, stock: StockCheck) -> bool:
        """Whether the stock has changed by the units of the orders."""
        return not self._stock_faults(stock)

    def _ordered(self) -> list[Purchase]:
        return [purchase for purchase in self.purchases if purchase.order_id is not None]

    def _doubled(self) -> list[str]:
        baskets_by_order = Counter(purchase.order_id for purchase in self._ordered())
        return [
            f"order {order_id} is the order of {count} baskets"
            for order_id, count in baskets_by_order.items()
            if count > 1
        ]

    def _stock_faults(self, stock: StockCheck) -> list[str]:
        found = [f"stock of {sku} is below zero" for sku in stock.below_zero]
        sold = sum(purchase.units_ordered for purchase in self._ordered() if purchase.state != "cancelled")
        fell_by = stock.before - stock.after
        if fell_by != sold:
            found.append(f"stock fell by {fell_by:,} units, the orders have {sold:,} (does someone else buy here too?)")
        return found
