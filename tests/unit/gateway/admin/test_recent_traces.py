from __future__ import annotations

from gateway.admin.recent_traces import MAX_SPANS, RecentTraces
from primitives.tracing.spans import CLIENT, SERVER, SpanTuple

REQUEST_ID = "ab000001000000ff"
TRACE = "ab" * 8 + REQUEST_ID


def a_span(number: int = 1, parent: int = 0, *, error: str = "") -> SpanTuple:
    kind = CLIENT if parent else SERVER
    return (
        number,
        parent,
        f"span {number}",
        kind,
        number * 1_000_000_000,
        number * 1_000_000_000 + 2_000_000,
        {"a": 1},
        error,
    )


def test_a_trace_is_found_by_its_id_and_by_that_of_its_request() -> None:
    recent = RecentTraces()
    recent.add([(TRACE, "", [a_span(2, 1, error="KeyError"), a_span()])])
    found = recent.find(REQUEST_ID)
    assert found == recent.find(TRACE)
    assert found == {
        "trace_id": TRACE,
        "spans": [
            {
                "span_id": f"{1:016x}", "parent_id": None, "name": "span 1", "kind": "server", "start": 1.0,
                "duration_ms": 2.0, "attributes": {"a": 1}, "error": None,
            },
            {
                "span_id": f"{2:016x}", "parent_id": f"{1:016x}", "name": "span 2", "kind": "client", "start": 2.0,
                "duration_ms": 2.0, "attributes": {"a": 1}, "error": "KeyError",
            },
        ],
    }  # fmt: skip


def test_unknown_ids_and_parts_of_one_are_not_found() -> None:
    recent = RecentTraces()
    recent.add([(TRACE, "", [a_span()])])
    assert [recent.find(wanted) for wanted in ("", "ff", TRACE[:16], "0" * 32)] == [None] * 4


def test_the_spans_of_several_processes_are_one_trace() -> None:
    recent = RecentTraces()
    recent.add([(TRACE, "", [a_span(1)]), ("1" * 32, "", [a_span(3)])])
    recent.add([(TRACE, "", [a_span(2, 1)])])
    found = recent.find(TRACE)
    assert found is not None
    assert [each["name"] for each in found["spans"]] == ["span 1", "span 2"]


def test_the_traces_that_were_added_to_last_are_kept_with_so_many_spans_each() -> None:
    recent = RecentTraces(max_traces=2)
    recent.add([(digit * 32, "", [a_span()]) for digit in "12"])
    recent.add([("1" * 32, "", [a_span(2)] * (MAX_SPANS + 10))])
    recent.add([("3" * 32, "", [a_span()])])
    assert recent.newest(10) == ["3" * 32, "1" * 32]
    assert recent.find("2" * 32) is None
    found = recent.find("1" * 32)
    assert found is not None
    assert len(found["spans"]) == MAX_SPANS
