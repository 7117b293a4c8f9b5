"""W3C Trace Context through the gateway: one id in the response, and the trace of the upstream."""

from __future__ import annotations

from pathlib import Path

import pytest

from store import Client
from tests.integration.gateway.proxy.raw_upstream import OK, always
from tests.integration.gateway.whole_gateway import whole_gateway

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
