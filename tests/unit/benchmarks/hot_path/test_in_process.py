import re

import pytest

from benchmarks.hot_path.in_process import CONNECTIONS, Requests
from benchmarks.hot_path.instructions import parse_dump
from benchmarks.load.wrk import TRACE_ID


def test_the_requests_of_one_group_alternate_over_the_connections() -> None:
    calls = [b"%d" % number for number in range(CONNECTIONS + 1)]

    first, second = Requests().prepare([calls], 2 * CONNECTIONS)

    assert [*first, *second] == [*calls, *calls[: CONNECTIONS - 1]]


def test_each_of_several_groups_has_connections_of_its_own() -> None:
    batches = Requests().prepare([[b"a1", b"a2"], [b"b1"]], 2 * CONNECTIONS)

    assert [batch[:2] for batch in batches] == [[b"a1", b"b1"], [b"a2", b"b1"]]


def test_each_request_has_another_trace_id() -> None:
    requests = Requests()
    batches = requests.prepare([[TRACE_ID.encode()]], CONNECTIONS) + requests.prepare(
        [[TRACE_ID.encode()]], CONNECTIONS
    )

    ids = [request for batch in batches for request in batch]
    assert len(set(ids)) == 2 * CONNECTIONS
    assert all(re.fullmatch(rb"Root=1-00000000-[0-9a-f]{24}", each) for each in ids)


def test_the_total_of_a_dump_is_read() -> None:
    assert parse_dump("events: Ir\nfn=(1)\n12 3\ntotals: 1234\n") == 1234
    with pytest.raises(ValueError, match="no total"):
        parse_dump("events: Ir\n")
