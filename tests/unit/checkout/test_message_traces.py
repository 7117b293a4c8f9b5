from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from cart.model import OrderId
from checkout.errors import ServiceUnavailable
from checkout.message import order_accepted
from checkout.message_traces import Processing, sending
from checkout.outbox import outgoing
from checkout.ports.outbox import OutboxEntry
from checkout.ports.queue import Delivery, Outgoing
from checkout.processor import Later
from checkout.worker import OrderWorker
from primitives.tracing.spans import CLIENT, CONSUMER, SERVER, SpanTuple, current_span, enter, span
from primitives.tracing.tracer import Tracer
from tests.unit.checkout.fake_services import MemoryQueue, an_order
from tests.virtual_time import in_virtual_time

SLOW_S = 1.0


def tracer() -> Tracer:
    return Tracer(share=0.0, slow_s=SLOW_S)


def recorded(made: Tracer) -> list[tuple[str, SpanTuple]]:
    return [(trace_id, each) for trace_id, _, spans in made.take(1000) for each in spans]


def traced_message() -> tuple[str, int, Outgoing]:
    """The id of a trace, that of the span that created its message, and the message."""
    root = tracer().begin("checkout", SERVER, parent=None)
    enter(root)
    order = an_order()
    body = order_accepted(order)
    enter(None)
    return root.trace_id, root.trace.spans[0][0], outgoing(OutboxEntry("7f", "1-0", order.id, body))


def untraced_message() -> Outgoing:
    order = an_order()
    return outgoing(OutboxEntry("7f", "1-0", order.id, order_accepted(order)))


def test_sending_a_batch_is_a_span_for_each_message_with_a_trace() -> None:
    made = tracer()
    trace_id, create, message = traced_message()
    with sending(made, [message, untraced_message()]):
        pass
    ((found, sent),) = recorded(made)
    assert (found, sent[1], sent[2], sent[3], sent[7]) == (trace_id, create, "send shop.order.accepted", CLIENT, "")
    assert sent[6]["messaging.batch.message_count"] == 2


def test_a_failed_sending_is_a_failed_span() -> None:
    made = tracer()
    with pytest.raises(ServiceUnavailable), sending(made, [traced_message()[2]]):
        raise ServiceUnavailable("away")
    assert recorded(made)[0][1][7] == "ServiceUnavailable"


def test_without_a_tracer_nothing_is_recorded() -> None:
    with sending(None, [traced_message()[2]]), Processing(None, Delivery(traced_message()[2].body, 1, 1)):
        assert current_span() is None


async def worked_off(messages: Sequence[Outgoing], process: Any) -> list[tuple[str, SpanTuple]]:
    made, queue = tracer(), MemoryQueue()
    await queue.send(messages)
    worker = OrderWorker(queue, process, tracer=made)
    running = asyncio.ensure_future(worker.run())
    async with asyncio.timeout(1000):
        while worker.processed + worker.released + worker.dead_lettered < len(messages):  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
    worker.stop()
    await running
    return recorded(made)


@in_virtual_time
async def test_the_steps_of_a_delivery_are_children_of_its_processing() -> None:
    async def process(_order_id: OrderId) -> None:
        with span("step"):
            await asyncio.sleep(0)

    trace_id, create, message = traced_message()
    (first, step), (second, processing) = await worked_off([message], process)
    assert first == second == trace_id
    assert (processing[1], processing[2], processing[3]) == (create, "process shop.order.accepted", CONSUMER)
    assert (step[1], step[2]) == (processing[0], "step")
    assert processing[6]["peakgate.attempt"] == 1
    assert message.order_id not in str(processing)


@in_virtual_time
async def test_a_delivery_without_a_trace_has_a_span_if_it_is_released_or_fails() -> None:
    ends = iter([None, Later(1.0), None])

    async def process(_order_id: OrderId) -> Later | None:
        assert current_span() is None
        return next(ends)

    poisoned = Outgoing(an_order().id, b"no order", "odd")
    found = await worked_off([untraced_message(), untraced_message(), poisoned], process)
    assert [(each[6]["peakgate.sampled_by"], each[6]["peakgate.released"], each[7]) for _, each in found] == [
        ("error", True, ""),
        ("error", False, "NotAnOrderMessage"),
    ]


@pytest.mark.parametrize(("seconds", "count"), [(SLOW_S - 0.1, 0), (SLOW_S, 1)])
def test_a_slow_delivery_has_a_span(seconds: float, count: int) -> None:
    made, times = tracer(), iter([10.0, 10.0 + seconds])
    with Processing(made, Delivery(untraced_message().body, 1, 1), lambda: next(times)):
        pass
    found = recorded(made)
    assert [each[6]["peakgate.sampled_by"] for _, each in found] == ["slow"] * count
    assert all(abs((each[5] - each[4]) / 1e9 - seconds) < 1e-3 for _, each in found)


def test_the_trace_of_the_attributes_counts_where_the_body_has_none() -> None:
    made = tracer()
    trace_id, _, message = traced_message()
    with Processing(made, Delivery(untraced_message().body, 1, 1, message.trace)):
        pass
    assert [found for found, _ in recorded(made)] == [trace_id]
