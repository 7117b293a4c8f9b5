"""Spans of the messages of orders: their sending, and the processing of each delivery."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Self

from checkout.order_number import order_number
from checkout.ports.queue import Delivery, Outgoing
from checkout.received_message import NotAnOrderMessage, order_id_of, routing_of
from primitives.tracing.context import TraceParent, carried_state, parse_traceparent
from primitives.tracing.spans import CLIENT, CONSUMER, Span, Value, enter
from primitives.tracing.tracer import Tracer

_NAME: Final = "shop.order.accepted"


@contextmanager
def sending(tracer: Tracer | None, messages: Sequence[Outgoing]) -> Iterator[None]:
    """Around the sending of a batch: a span for each message that carries a trace."""
    spans = [] if tracer is None else [_of_sending(tracer, each, len(messages)) for each in messages if each.trace]
    error = ""
    try:
        yield
    except BaseException as failure:
        error = type(failure).__name__
        raise
    finally:
        for span in spans:
            span.fail(error)
            assert tracer is not None
            tracer.end(span)


def _of_sending(tracer: Tracer, message: Outgoing, count: int) -> Span:
    attributes: dict[str, Value] = {"messaging.operation.type": "send", "messaging.batch.message_count": count}
    parent = parse_traceparent(message.trace["traceparent"])
    state = message.trace.get("tracestate", "")
    return tracer.begin(f"send {_NAME}", CLIENT, parent=parent, state=state, attributes=attributes)


class Processing:
    """The span of one delivery, around its processing: the parent of the spans of its steps.

    Of a delivery that carries no recorded trace there is a span without children, if it failed, was released or was slow.
    """

    __slots__ = ("_began_at", "_clock", "_delivery", "_released", "_root", "_tracer")

    def __init__(self, tracer: Tracer | None, delivery: Delivery, clock: Callable[[], float] = time.monotonic) -> None:
        self._tracer = tracer
        self._delivery = delivery
        self._clock = clock
        self._began_at = 0.0
        self._released = False
        self._root: Span | None = None

    def __enter__(self) -> Self:
        if self._tracer is not None:
            self._began_at = self._clock()
            parent, state = _parent_of(self._delivery)
            if parent is not None and parent.is_sampled:
                self._root = self._begin(self._tracer, parent, state)
                enter(self._root)
        return self

    def release(self) -> None:
        """It is to be delivered again."""
        self._released = True

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        tracer, root = self._tracer, self._root
        if tracer is None:
            return
        elapsed_s = self._clock() - self._began_at
        if root is None:
            if kind is None and not self._released and elapsed_s < tracer.slow_s:
                return
            root = self._begin(tracer, *_parent_of(self._delivery))
            root.set("peakgate.sampled_by", "error" if kind is not None or self._released else "slow")
        root.set("peakgate.released", self._released)
        if kind is not None:
            root.fail(kind.__name__)
        if self._root is None:
            tracer.end_late(root, elapsed_s)
        else:
            enter(None)
            tracer.end(root)

    def _begin(self, tracer: Tracer, parent: TraceParent | None, state: str) -> Span:
        attributes: dict[str, Value] = {
            "messaging.operation.type": "process",
            "peakgate.attempt": self._delivery.attempt,
            **_order_of(self._delivery),
        }
        return tracer.begin(f"process {_NAME}", CONSUMER, parent=parent, state=state, attributes=attributes)


def _parent_of(delivery: Delivery) -> tuple[TraceParent | None, str]:
    """The span that a delivery names, in its body or in its attributes, with its `tracestate`."""
    trace = routing_of(delivery.body)[1] or delivery.trace
    return parse_traceparent(trace.get("traceparent", "")), carried_state(trace.get("tracestate"))


def _order_of(delivery: Delivery) -> Mapping[str, Value]:
    """The number of the order, never its id, with which it could be read."""
    try:
        return {"peakgate.order_number": order_number(order_id_of(delivery.body))}
    except NotAnOrderMessage:
        return {}
