"""The message of an accepted order, for this worker and for those of other teams.

A CloudEvents 1.0 event in JSON format (https://github.com/cloudevents/spec/tree/v1.0.2). The schema of its data is
`order_accepted.schema.json`; `docs/order-message.md` describes it.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Final

import msgspec

from cart.timestamps import rfc3339
from checkout.amounts import Amounts, OrderLine
from checkout.order import Order
from primitives.digits import digits
from primitives.tracing.spans import PRODUCER, child_of_open

ORDER_ACCEPTED: Final = "shop.order.accepted.v1"
SOURCE: Final = "/peakgate/checkout"
DATA_SCHEMA: Final = "urn:peakgate:schema:shop.order.accepted.v1"


def order_accepted(order: Order) -> bytes:
    """The message of an accepted order; its bytes are the same in every later status, but for its trace.

    It contains no token, address or email; a worker that needs them reads the order. It contains no names and line
    totals, so that 1,000 lines of the longest SKUs fit in 256 KiB, the limit of an SQS message.
    """
    # Written by hand: an encoder needs a dict for each line and amount, which take four times as long. All texts but SKUs are
    # our own, and need no escaping. An order is accepted once, so its id identifies duplicates of the message.
    money_end = f',"currency":"{order.currency}"}}'
    line_end = f"{money_end}}}".encode()
    largest = 0
    group = b""
    pieces: list[bytes] = []
    for line in order.lines:
        sku = msgspec.json.encode(line.sku)
        total = line.quantity * line.unit_price
        # The first of the lines with the largest total; in a drop, the article of the drop.
        if total > largest or not group:
            group, largest = sku, total
        pieces += (
            b',{"sku":',
            sku,
            b',"quantity":',
            digits(line.quantity),
            b',"unit_price":{"amount":',
            digits(line.unit_price),
            line_end if not line.ahead else _line_end(line, money_end),
        )
    opening = (
        f'{{"specversion":"1.0","id":"{order.id}","source":"{SOURCE}","type":"{ORDER_ACCEPTED}","subject":"{order.id}",'
        f'"time":"{rfc3339(order.created_at)}","datacontenttype":"application/json","dataschema":"{DATA_SCHEMA}",'
        f'"partitionkey":'
    )
    data = (
        f'{_trace_members()},"data":{{"order_id":"{order.id}","number":"{order.number}","cart_id":"{order.cart_id}",'
        f'"currency":"{order.currency}","lines":['
    )
    amounts = order.amounts
    closing = (
        f'],"subtotal":{{"amount":{amounts.subtotal}{money_end},"discounts":[{_discounts(order, money_end)}],'
        f'"shipping":{{"amount":{order.shipping}{money_end}{_tax(order, amounts, money_end)},'
        f'"total":{{"amount":{amounts.total}{money_end}}}}}'
    )
    return b"".join((opening.encode(), group, data.encode(), b"".join(pieces)[1:], closing.encode()))


def _trace_members() -> str:
    """The trace that the order was accepted in, if it is recorded: the Distributed Tracing extension of CloudEvents."""
    create = child_of_open("create shop.order.accepted", PRODUCER, {"messaging.operation.type": "create"})
    if create is None:
        return ""
    create.end()
    state = create.trace.state
    state_member = f',"tracestate":{msgspec.json.encode(state).decode()}' if state else ""
    return f',"traceparent":"{create.traceparent}"{state_member}'


def _line_end(line: OrderLine, money_end: str) -> bytes:
    """The end of a line of which units were sold ahead."""
    date = f',"available_on":"{line.available_on}"' if line.available_on else ""
    return f'{money_end},"ahead":{line.ahead}{date}}}'.encode()


def _discounts(order: Order, money_end: str) -> str:
    # Codes need no escaping.
    return ",".join(
        [
            f'{{"code":"{discount.code}","amount":{{"amount":{discount.amount}{money_end}}}'
            for discount in order.discounts
        ]
    )


def _tax(order: Order, amounts: Amounts, money_end: str) -> str:
    if order.tax is None:
        return ""
    included = "false" if order.tax.is_added else "true"
    return f',"tax":{{"amount":{{"amount":{amounts.tax}{money_end},"included":{included}}}'


def order_accepted_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the whole message."""
    text = resources.files("checkout").joinpath("order_accepted.schema.json").read_bytes()
    schema: dict[str, Any] = msgspec.json.decode(text)
    return schema
