"""`peakgate orders mark`: the report of an operator on a shipment."""

from __future__ import annotations

import sys

from checkout.errors import ChangeNotDurable, OrderElsewhere, TooManyFacts
from checkout.shipping.desk import CannotMark, ShipmentMark
from gateway.commands.order_session import EX_OK, Refused, Say, run_with_tools
from gateway.compose.order_tools import OrderTools
from gateway.settings import Settings


def mark_order(settings: Settings, number_or_id: str, mark: ShipmentMark, *, say: Say) -> int:
    """Mark the order; returns the exit code."""

    async def act(tools: OrderTools) -> int:
        found = await tools.search.find(number_or_id)
        if not found:
            raise Refused(f"there is no order {number_or_id!r}")
        if len(found) > 1:
            ids = ", ".join(order.id for order in found)
            raise Refused(f"{len(found)} orders have this number; name one by its id: {ids}")
        try:
            order = await tools.shipments.mark(found[0].id, mark)
        except CannotMark as error:
            raise Refused(f"order {found[0].number} is not marked: {error}") from error
        except OrderElsewhere as error:
            raise Refused(f"order {found[0].number} has its home in the Region {error.home}; mark it there") from error
        except TooManyFacts as error:
            raise Refused(f"order {found[0].number} has had too many reports and takes no more") from error
        except ChangeNotDurable as error:
            raise Refused("the report is stored, but not durably yet: repeat the command to make sure of it") from error
        when = "within seconds" if order.status.has_ended else f"once it is completed; it is {order.status} now"
        became = "has these lines returned" if mark.lines else f"is marked as {mark.status}"
        sys.stdout.write(f"order {order.number} {became} {when}\n")
        return EX_OK

    return run_with_tools(settings, act, say=say)
