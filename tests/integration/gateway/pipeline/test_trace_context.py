"""W3C Trace Context through the gateway: one id in the response, and the trace of the upstream."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.config.policies import Limit, Room
from primitives.tracing.spans import SpanTuple
from store import Client
from tests.integration.gateway.proxy.raw_upstream import OK, Peer, always
from tests.integration.gateway.small_server import get
from tests.integration.gateway.whole_gateway import WholeGateway, whole_gateway
from tests.waiting import until

ONE = "00-12345678901234567890123456789011-1234567890123456-01"
TWO = "00-12345678901234567890123456789012-1234567890123456-01"


async def test_one_traceparent_continues_its_trace(store: Client, store_url: str, tmp_path: Path) -> None:
    async with whole_gateway(store_url, tmp_path, always(OK)) as gateway:
        got = await gateway.get("/s/x", f"traceparent: {ONE}", "tracestate: a=1", "tracestate: b=2")
        (parent,) = gateway.sent("traceparent")
        assert parent.startswith(b"00-12345678901234567890123456789011-")
        assert b"1234567890123456" not in parent.split(b"-")[2:]
        assert gateway.sent("tracestate") == [b"a=1, b=2"]
        assert got["X-Request-Id"] == b"12345678901234567890123456789011"


@pytest.mark.parametrize("second", [ONE, TWO, "", "no trace"])
async def test_two_traceparents_begin_a_new_trace(store: Client, store_url: str, tmp_path: Path, second: str) -> None:
    async with whole_gateway(store_url, tmp_path, always(OK)) as gateway:
        got = await gateway.get("/s/x", f"traceparent: {ONE}", f"traceparent: {second}", "tracestate: a=1")
        (parent,) = gateway.sent("traceparent")
        assert b"1234567890123456789012345678901" not in parent
        assert parent.split(b"-")[1].endswith(got["X-Request-Id"])
        assert gateway.sent("tracestate") == []
        assert gateway.sent("X-Request-Id") == [got["X-Request-Id"]]


async def test_two_traceparents_name_no_request_of_the_api(store: Client, store_url: str, tmp_path: Path) -> None:
    async with whole_gateway(store_url, tmp_path, always(OK)) as gateway:
        got = await gateway.get("/v1/products", f"traceparent: {ONE}", f"traceparent: {TWO}")
        assert len(got["X-Request-Id"]) == 16


TRACED: dict[str, Any] = {"otlp_endpoint": "http://127.0.0.1:1", "trace_share": 0.0, "trace_follow": True}


async def traces_of(gateway: WholeGateway) -> dict[str, list[SpanTuple]]:
    """The spans of the traces that have ended, by trace id."""
    found: dict[str, list[SpanTuple]] = {}
    for trace_id, _, spans in await gateway.commands["traces"]({"max_spans": 10_000}):
        found.setdefault(trace_id, []).extend(spans)
    return found


async def test_the_layers_and_calls_of_a_request_are_spans_of_it(store: Client, store_url: str, tmp_path: Path) -> None:
    limit = Limit(name="all", by="global", quota=100)
    room = Room(name="sale", routes=("/s/*",), admissions_per_s=1000.0, max_active=100)
    async with whole_gateway(
        store_url, tmp_path, always(OK), options=TRACED, limits=(limit,), rooms=(room,)
    ) as gateway:
        assert (await gateway.get("/s/x", f"traceparent: {ONE}")).status == 200
        (parent,) = gateway.sent("traceparent")
        (spans,) = (await traces_of(gateway)).values()
    names = {span[0]: span[2] for span in spans}
    parents = {span[2]: names.get(span[1], "caller") for span in spans}
    assert parents["GET /s/*"] == "caller"
    assert parents["waiting room"] == parents["rate limits"] == parents["GET"] == "GET /s/*"
    assert "waiting room" in parents.values()  # a call of the store
    (call,) = (span for span in spans if span[2] == "GET")
    assert parent.split(b"-")[2].decode() == f"{call[0]:016x}"


async def test_requests_in_one_packet_have_traces_of_their_own(store: Client, store_url: str, tmp_path: Path) -> None:
    async with whole_gateway(store_url, tmp_path, always(OK), options=TRACED) as gateway:
        requests = [
            get("/s/1", f"traceparent: {ONE}"),
            get("/s/2"),
            get("/s/3", f"traceparent: {TWO}", "Connection: close"),
        ]
        await gateway.send(b"".join(requests))
        parents = [gateway.sent("traceparent", index)[0].decode() for index in range(3)]
        traces = await traces_of(gateway)
    assert list(traces) == [ONE[3:35], TWO[3:35]]
    assert [parent[3:35] in traces for parent in parents] == [True, False, True]
    assert [parent[-2:] for parent in parents] == ["01", "00", "01"]
    for spans in traces.values():
        assert sorted(span[2] for span in spans) == ["GET", "GET /s/*"]


async def test_without_a_collector_nothing_is_traced(store: Client, store_url: str, tmp_path: Path) -> None:
    async with whole_gateway(store_url, tmp_path, always(OK)) as gateway:
        await gateway.get("/s/x", f"traceparent: {ONE}")
        assert gateway.edge.tracer is None
        assert "traces" not in gateway.commands


async def test_a_client_that_hangs_up_ends_its_trace(store: Client, store_url: str, tmp_path: Path) -> None:
    arrived, never = asyncio.Event(), asyncio.Event()

    async def wait(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await never.wait()

    async with whole_gateway(store_url, tmp_path, wait, options=TRACED) as gateway:
        _reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(get("/s/x", f"traceparent: {ONE}"))
        await arrived.wait()
        writer.close()
        tracer = gateway.edge.tracer
        assert tracer is not None
        await until(lambda: tracer.snapshot()["recorded"])
        ((trace_id, spans),) = (await traces_of(gateway)).items()
        never.set()
    assert trace_id == ONE[3:35]
    assert {span[2]: span[6].get("http.response.status_code") for span in spans}["GET /s/*"] == 499
