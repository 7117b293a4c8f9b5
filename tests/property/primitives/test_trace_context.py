from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from primitives.tracing.context import MAX_CARRIED_STATE, carried_state, parse_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
# The grammar of the specification (3.2.2), for the version that it defines.
VERSION_00 = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
hex_digits = st.text("0123456789abcdef", min_size=1, max_size=40)
pieces = st.one_of(hex_digits, st.text(max_size=5), st.sampled_from(["00", "ff", "0" * 16, "0" * 32, TRACE]))


@given(st.one_of(st.text(), st.lists(pieces, max_size=6).map("-".join)))
@example(f"00-{TRACE}-00f067aa0ba902b7-01")
@example(f"00-{TRACE}-00f067aa0ba902b7-01\n")
def test_garbage_is_ignored_and_what_is_read_fits_the_grammar(text: str) -> None:
    parent = parse_traceparent(text)
    if parent is None:
        assert not VERSION_00.fullmatch(text) or "0" * 32 in text or text.split("-")[2] == "0" * 16
        return
    assert VERSION_00.fullmatch(f"00-{parent.trace_id}-{parent.span_id}-{parent.flags}")
    assert int(parent.trace_id, 16)
    assert int(parent.span_id, 16)
    assert not text.startswith("ff")


@given(st.text())
def test_a_carried_state_is_the_callers_and_fits_a_header(text: str) -> None:
    state = carried_state(text)
    assert state in {"", text}
    assert len(state) <= MAX_CARRIED_STATE
    assert state.isascii()
    assert state.isprintable() or "\t" in state
