"""The states of an order, as far as a replay judges them."""

from typing import Final

# The order is paid for and booked. The last three follow from the reports of carriers and operators.
BOUGHT: Final = frozenset({"completed", "shipped", "delivered", "returned"})
# The shop's workflow is at its end.
ENDED: Final = BOUGHT | {"cancelled"}
