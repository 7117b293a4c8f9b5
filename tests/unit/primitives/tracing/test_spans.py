from __future__ import annotations

import asyncio
from contextvars import copy_context

import pytest

from primitives.tracing.context import parse_traceparent
from primitives.tracing.spans import (
    CLIENT,
    INTERNAL,
    MAX_SPANS,
    SERVER,
    NoSpan,
    Span,
    SpanTuple,
    child_of_open,
    current_span,
    enter,
    outgoing_context,
    span,
)
from primitives.tracing.tracer import Tracer

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = parse_traceparent(f"00-{TRACE}-00f067aa0ba902b7-01")


class Clock:
    """Nanoseconds that the test moves."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


def tracer(*, share: float = 1.0, clock: Clock | None = None, max_waiting: int = 1000) -> Tracer:
    ids = iter(range(1, 1_000_000))
    return Tracer(
        share=share,
        slow_s=1.0,
        max_waiting=max_waiting,
        chance=lambda: 0.5,
        clock_ns=clock or Clock(),
        unix_ns=lambda: 1_000,
        random_bits=lambda _bits: next(ids),
    )


def spans_of(made: Tracer) -> list[SpanTuple]:
    return [each for _, _, spans in made.take(1000) for each in spans]


def test_outside_of_a_trace_there_is_no_span() -> None:
    with span("anything") as nothing:
        nothing.set("name", 1)
        nothing.fail("Error")
    assert isinstance(nothing, NoSpan)
    assert current_span() is None
    assert child_of_open("call", CLIENT) is None
    assert outgoing_context() == {}


def in_trace(made: Tracer) -> Span:
    root = made.begin("root", SERVER, parent=PARENT, state="a=1")
    enter(root)
    return root


@pytest.fixture(autouse=True)
def _no_span_is_left() -> None:
    enter(None)


def test_a_span_is_a_child_of_the_open_one_and_ends_with_its_block() -> None:
    clock = Clock()
    made = tracer(clock=clock)
    root = in_trace(made)
    clock.ns = 5
    with span("outer", attributes={"a": 1}) as outer:
        clock.ns = 7
        with span("inner", CLIENT) as inner:
            clock.ns = 9
    made.end(root)
    assert isinstance(outer, Span)
    assert isinstance(inner, Span)
    assert spans_of(made) == [
        (inner.id, outer.id, "inner", CLIENT, 1_007, 1_009, {}, ""),
        (outer.id, root.id, "outer", INTERNAL, 1_005, 1_009, {"a": 1}, ""),
        (root.id, 0x00F067AA0BA902B7, "root", SERVER, 1_000, 1_009, {}, ""),
    ]


def test_after_a_block_its_parent_is_open_again() -> None:
    root = in_trace(tracer())
    with span("block"):
        assert current_span() is not root
    assert current_span() is root


def test_an_error_is_named_by_its_type_alone() -> None:
    made = tracer()
    root = in_trace(made)
    with pytest.raises(KeyError), span("fails"):
        raise KeyError("ada@example.org")
    with span("declined") as declined:
        declined.fail("declined")
    made.end(root)
    assert [each[7] for each in spans_of(made)] == ["KeyError", "declined", ""]


def test_calls_carry_the_open_span_and_the_state_of_the_caller() -> None:
    in_trace(tracer())
    with span("call", CLIENT) as call:
        assert isinstance(call, Span)
        assert outgoing_context() == {"traceparent": f"00-{TRACE}-{call.id:016x}-01", "tracestate": "a=1"}


async def test_tasks_that_begin_at_the_same_time_are_siblings() -> None:
    made = tracer()
    root = in_trace(made)

    async def work(name: str) -> None:
        with span(name):
            await asyncio.sleep(0)

    await asyncio.gather(work("one"), work("two"))
    made.end(root)
    assert [(each[2], each[1]) for each in spans_of(made)][:2] == [("one", root.id), ("two", root.id)]


def test_what_ends_after_its_trace_is_dropped_and_nothing_more_begins() -> None:
    made = tracer()
    root = in_trace(made)
    late = child_of_open("late", CLIENT)
    assert late is not None
    made.end(root)
    late.end()
    assert current_span() is None
    assert isinstance(span("later"), NoSpan)
    assert [each[2] for each in spans_of(made)] == ["root"]


def test_a_span_that_ends_in_another_context_leaves_none_open() -> None:
    root = in_trace(tracer())
    block = span("block")
    block.__enter__()
    copy_context().run(block.__exit__, None, None, None)
    enter(root)
    assert current_span() is root


def test_a_trace_has_so_many_spans_at_most() -> None:
    made = tracer()
    root = in_trace(made)
    for _ in range(MAX_SPANS + 5):
        with span("step"):
            pass
    made.end(root)
    recorded = spans_of(made)
    assert len(recorded) == MAX_SPANS + 1
    assert recorded[-1][2] == "root"
    assert made.dropped == 5


def test_the_share_decides_which_roots_are_drawn() -> None:
    assert tracer(share=0.6).is_drawn()
    assert not tracer(share=0.5).is_drawn()
    assert not tracer(share=0).is_drawn()


def test_a_trace_without_a_caller_has_the_id_that_it_is_given_or_a_new_one() -> None:
    made = tracer()
    assert made.begin("root", SERVER, parent=None, trace_id=TRACE).trace_id == TRACE
    assert made.begin("root", SERVER, parent=None).trace_id == f"{2:016x}{3:016x}"


def test_a_span_made_afterwards_began_when_its_work_did() -> None:
    clock = Clock()
    made = tracer(clock=clock)
    clock.ns = 3_000_000_000
    made.end_late(made.begin("slow", SERVER, parent=None), 2.0)
    (late,) = spans_of(made)
    assert late[5] - late[4] == 2_000_000_000


def test_ended_traces_wait_in_a_bounded_list() -> None:
    made = tracer(max_waiting=3)
    for _ in range(5):
        made.end(made.begin("root", SERVER, parent=None))
    assert (made.recorded, made.dropped) == (3, 2)
    assert len(spans_of(made)) == 3
    made.end(made.begin("root", SERVER, parent=None))
    assert len(spans_of(made)) == 1


def test_so_many_spans_are_taken_at_a_time_but_one_trace_at_least() -> None:
    made = tracer()
    for _ in range(3):
        root = in_trace(made)
        with span("step"):
            pass
        made.end(root)
    assert [len(list(made.take(limit))) for limit in (4, 1, 1)] == [2, 1, 0]
