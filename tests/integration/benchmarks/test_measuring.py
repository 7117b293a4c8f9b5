"""Benchmarks against a real gateway: requests have the expected responses. Measured values are not checked."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.harness.gateway_process import Api, HarnessError, await_port, serving, start_child, stop_child
from benchmarks.harness.ports import free_port
from benchmarks.hot_path.every_layer import EveryLayer
from benchmarks.hot_path.rows import NAMES, Row, check_status, gateway_rows, serving_module
from benchmarks.load.leaving_clients import NONE
from benchmarks.load.wrk import Call, find_wrk, play
from benchmarks.scenarios import hot_sku
from benchmarks.scenarios.failing_upstream import FAILURES, Case, Runs, configuration_of
from tests.waiting import WITHIN_S

# A busy machine looks like an overload.
UNSHED = "\n[shedding]\nenabled = false\n"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_every_row_of_the_hot_path_has_its_status(tmp_path: Path, stack: ExitStack) -> None:
    upstream = stack.enter_context(serving_module("benchmarks.upstreams.canned"))
    layers = EveryLayer.prepare(tmp_path, upstream_port=upstream.port)
    options = ("--workers", "1", "--role", "edge", "--config", str(layers.configuration))
    gateway = stack.enter_context(serving(*options))

    api = stack.enter_context(Api(gateway.port))
    rows = gateway_rows(api, layers, list(NAMES), shoppers=2)

    for row in rows:
        if row.status == 429:
            first = row.groups[0][0]
            api.send(first.method, first.path, headers=first.headers)
        check_status(gateway.port, row)
    with pytest.raises(HarnessError, match="returned 404, not 200"):
        check_status(gateway.port, Row("odd", "odd", [[Call("GET", "/v1/no/such")]]))


def test_clients_of_a_failing_upstream_get_responses_and_no_read_is_lost(tmp_path: Path, stack: ExitStack) -> None:
    port = free_port()
    upstream = start_child([sys.executable, "-m", "benchmarks.upstreams.failing", str(port)])
    stack.callback(stop_child, upstream)
    await_port(upstream, port)
    (resets,) = (failure for failure in FAILURES if failure.mode == "resets")
    case = Case(resets, is_exposed=True)
    configuration = tmp_path / "peakgate.toml"
    configuration.write_text(configuration_of([case], port, log=tmp_path / "access.log") + UNSHED)
    gateway = stack.enter_context(serving("--workers", "1", "--role", "edge", "--config", str(configuration)))
    cart = stack.enter_context(Api(gateway.port)).cart_of([])
    read = f"GET /v1/carts/{cart} HTTP/1.1\r\nHost: a\r\n\r\n".encode()

    seconds = 0.3
    while True:
        pair = Runs(gateway.port, [read], seconds=seconds).pair(case)
        # A client that leaves before the response has come counts as one without, and so does a read after the end.
        assert pair.statuses.keys() <= {"502", NONE}
        if pair.statuses["502"] and pair.healthy.wrong == pair.failing.wrong == 0:
            break
        seconds *= 2
        assert seconds < WITHIN_S, pair


@pytest.mark.slow
def test_a_drop_sells_all_of_its_pieces_and_its_books_agree(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        hot_sku.measure(hot_sku.Options(pieces=30, crowd=300, rate=10, seconds=1, keep=False))
    except HarnessError as missing:
        if "wrk" not in str(missing):
            raise
        pytest.skip(str(missing))
    told = capsys.readouterr().out
    assert "30 orders completed" in told
    assert re.search(r"pieces left for sale +0\.00", told)


def test_the_load_sends_the_fields_of_each_call(tmp_path: Path) -> None:
    try:
        find_wrk()
    except HarnessError as missing:
        pytest.skip(str(missing))
    (tmp_path / "peakgate.toml").write_text(UNSHED)
    options = ("--workers", "1", "--role", "edge", "--config", str(tmp_path / "peakgate.toml"))
    with serving(*options) as gateway, Api(gateway.port) as api:
        cart = f"/v1/carts/{api.cart_of([])}"
        entity = 'W/"none"'
        calls = [Call("GET", cart, headers=(("If-None-Match", entity), ("X-Request-Id", "a-b:c")))]
        calls.append(Call("POST", f"{cart}/lines", b'{"sku": "85123A", "quantity": 1}', (("If-Match", '"999"'),)))

        result = play(gateway.port, [calls], seconds=1, connections=2)

    # The second is rejected for its If-Match, so half of all responses are errors.
    assert result.requests
    assert abs(result.errors - result.requests / 2) <= 2
