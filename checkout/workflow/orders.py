"""The workflow of orders, as a table. `checkout.workflow.runner` runs it; `docs/workflow.md` explains it.

A version never changes once orders were accepted with it: they are in flight while workers are replaced. To add, remove or
change a step, append a table with the next version, and leave the tables of earlier versions until no such order is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from checkout.order_status import CancelReason, OrderStatus
from checkout.steps.arrange_shipping import ArrangeShipping
from checkout.steps.authorise_payment import AuthorisePayment
from checkout.steps.capture_payment import CapturePayment
from checkout.steps.confirm_stock import ConfirmStock
from checkout.steps.enter_in_index import EnterInIndex
from checkout.steps.notify import Notify
from checkout.workflow.table import RetryPolicy, StepRow, WorkflowTable

# Then the order leaves the worker and waits, for the time of `--order-patience` in all.
THREE_CALLS: Final = RetryPolicy(attempts=3, backoff_s=0.2)

VERSION_1: Final = WorkflowTable(
    version=1,
    rows=(
        StepRow(
            name="enter_in_index",
            step=EnterInIndex,
            retry=THREE_CALLS,
            repeatable=True,
        ),
        StepRow(
            name="confirm_stock",
            step=ConfirmStock,
            retry=THREE_CALLS,
            reaches=OrderStatus.STOCK_CONFIRMED,
            fails_as=CancelReason.OUT_OF_STOCK,
            undo="return_stock",
            repeatable=True,
        ),
        StepRow(
            name="authorise_payment",
            step=AuthorisePayment,
            retry=THREE_CALLS,
            reaches=OrderStatus.PAYMENT_AUTHORISED,
            fails_as=CancelReason.PAYMENT_DECLINED,
            # A look-up that is not answered waits: `OrderPayments`. If look-ups are answered and the call never is, stock does
            # not wait for it: the undo voids an authorisation that took effect.
            no_response="fails",
            undo="void_payment",
        ),
        StepRow(
            name="arrange_shipping",
            step=ArrangeShipping,
            retry=THREE_CALLS,
            reaches=OrderStatus.SHIPPING_ARRANGED,
            fails_as=CancelReason.SHIPPING_FAILED,
            no_response="waits",
            undo="cancel_shipment",
        ),
        StepRow(
            name="capture_payment",
            step=CapturePayment,
            retry=THREE_CALLS,
            fails_as=CancelReason.PAYMENT_DECLINED,
            # The shipment is booked and the payment may be captured. Nothing to undo: voiding refunds a captured payment.
            no_response="waits",
        ),
        StepRow(
            name="notify",
            step=Notify,
            retry=THREE_CALLS,
            reaches=OrderStatus.COMPLETED,
            # Its failure does not keep the order from being completed.
            no_response="fails",
            repeatable=True,
        ),
    ),
)

# The same steps, for orders with discounts or taxes: a release that does not know these would charge another total.
VERSION_2: Final = WorkflowTable(version=2, rows=VERSION_1.rows)

# Of the orders that are accepted now, and of those that have neither discounts nor taxes.
LATEST: Final = VERSION_2
WITHOUT_DISCOUNTS: Final = VERSION_1
# Of the orders in flight. Records of orders that were accepted before there were versions have version 0.
TABLES: Final[Mapping[int, WorkflowTable]] = {0: VERSION_1, 1: VERSION_1, 2: VERSION_2}
