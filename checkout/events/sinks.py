"""The sinks of events that are enabled, and the relays to them in this process."""

from __future__ import annotations

from collections.abc import Callable

from cart.model import OrderId


class EventSinks:
    """Names the outboxes that a change of an order writes to, and passes a notice of each change to their relays.

    Without a sink, a change of an order writes no event and no notice is passed.
    """

    __slots__ = ("_notices", "names")

    def __init__(self, *names: str) -> None:
        # Replaced as a whole, so that a change that is under way sees the one or the other.
        self.names: tuple[str, ...] = names
        self._notices: list[Callable[[OrderId], None]] = []

    def enable(self, name: str, *, is_enabled: bool = True) -> None:
        """Write events for the sink from now on, or no more."""
        others = tuple(each for each in self.names if each != name)
        self.names = (*others, name) if is_enabled else others

    def attach(self, notice: Callable[[OrderId], None]) -> None:
        """Call `notice` with the id of each order that this process has changed; it must not block or raise."""
        self._notices.append(notice)

    def notice(self, order_id: OrderId) -> None:
        """This process has stored a change of the order."""
        if self.names:
            for notice in self._notices:
                notice(order_id)
