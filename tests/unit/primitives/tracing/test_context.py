from __future__ import annotations

import pytest

from primitives.tracing.context import carried_state, parse_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def test_a_traceparent_names_trace_span_and_flags() -> None:
    parent = parse_traceparent(f"00-{TRACE}-{SPAN}-01")
    assert parent is not None
    assert (parent.trace_id, parent.span_id, parent.is_sampled) == (TRACE, SPAN, True)


@pytest.mark.parametrize(
    ("flags", "is_sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)]
)
def test_the_lowest_flag_says_whether_the_caller_records(flags: str, is_sampled: bool) -> None:
    parent = parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}")
    assert parent is not None
    assert parent.is_sampled is is_sampled


def test_a_later_version_may_have_more_fields_and_this_one_may_not() -> None:
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-01-more") is not None
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-01-more") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN[:-1]}٣-01",
    ],
)
def test_any_other_text_names_none(text: str) -> None:
    assert parse_traceparent(text) is None


def test_a_state_is_carried_while_it_is_valid_and_short() -> None:
    assert carried_state("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7") == "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
    assert not carried_state(",".join(f"a{number}={'x' * 200}" for number in range(3)))
    assert not carried_state("no state")
    assert not carried_state(None)
