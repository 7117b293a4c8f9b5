"""Traces from the edge to the end of an order, as a collector receives them from a served shop."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from aiohttp import web
from prometheus_client.openmetrics import parser as open_metrics

from benchmarks.upstreams.payment_stand_in import PaymentStandIn
from primitives.webhook_signature import WebhookSigner, new_secret
from tests.e2e.running_shop import CATALOGUE, RunningShop, eventually, peakgate
from tests.e2e.surroundings import Neighbour, count, open_shop, restarted
from tests.e2e.trace_collector import Span, collecting

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
EMAIL = "ada@example.com"


def answering(handler: Callable[[web.Request], Awaitable[web.Response]]) -> Callable[[], web.Application]:
    """Makes an upstream that answers every request with this handler."""

    def application() -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        return application

    return application


@contextmanager
def paid_at(stand_in: PaymentStandIn, seen: list[dict[str, str]]) -> Iterator[str]:
    """A payment service on a socket; `seen` gets the header fields of its requests."""

    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen.append(headers)
        reply = stand_in.handle(request.method, request.path_qs, headers, await request.read())
        assert reply is not None
        return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))

    with Neighbour(answering(handle)) as neighbour:
        yield neighbour.url


def parents_of(spans: list[Span]) -> dict[str, str]:
    """The name of the parent by the name of the span; `caller` for that of the test."""
    names = {span.span_id: span.name for span in spans} | {CALLER: "caller"}
    return {span.name: names[span.parent_id] for span in spans}


def exemplars_of(shop: RunningShop, histogram: str) -> list[tuple[str, str]]:
    """The route and the trace of each exemplar on the metrics page, which accepts OpenMetrics."""
    page = shop._call(
        shop.admin_url,
        "GET",
        "/metrics",
        None,
        {"Authorization": f"Bearer {shop.admin_token}", "Accept": "application/openmetrics-text; version=1.0.0"},
    )
    families = open_metrics.text_string_to_metric_families(page.body)  # type: ignore[no-untyped-call]
    return [
        (sample.labels["route"], sample.exemplar.labels["trace_id"])
        for family in families
        if family.name == histogram
        for sample in family.samples
        if sample.exemplar is not None
    ]


def test_an_order_is_one_trace_from_its_checkout_to_its_end(tmp_path: Path) -> None:
    secret = new_secret()
    (tmp_path / "key").write_text(secret)
    paid: list[dict[str, str]] = []
    stand_in = PaymentStandIn(signer=WebhookSigner(secret))
    shop = RunningShop(tmp_path / "data")
    with collecting() as collector, paid_at(stand_in, paid) as payment_url:
        shop.start(
            "--workers", "2", "--catalog", str(CATALOGUE), "--payment", "http", "--payment-url", payment_url,
            "--payment-key-file", str(tmp_path / "key"), "--otlp-endpoint", collector.url,
            "--trace-share", "0", "--trace-follow", "yes", "--log-format", "json",
        )  # fmt: skip
        try:
            cart_id = shop.cart_of(_85123A=1)
            placed = shop.check_out(cart_id, traceparent=TRACEPARENT, tracestate="congo=t61rcWkgMzE")
            assert placed.status == 202
            assert placed.headers["X-Request-Id"] == TRACE
            order_id = str(placed.body["id"])
            eventually(lambda: shop.order(order_id)["status"] == "completed")
            collector.wait_for("process shop.order.accepted")
            spans = eventually(lambda: collector.of(TRACE), lambda found: len(parents_of(found)) > 10)
            known = shop.admin("GET", f"/admin/v1/traces/{TRACE}").body
            exemplars = exemplars_of(shop, "peakgate_request_seconds")
        finally:
            shop.stop()
    assert ("/v1/checkout", TRACE) in exemplars
    parents = parents_of(spans)
    assert parents["POST /v1/checkout"] == "caller"
    assert parents["EVALSHA begin"] == parents["EVALSHA commit"] == "POST /v1/checkout"
    assert parents["create shop.order.accepted"] == "POST /v1/checkout"
    assert parents["send shop.order.accepted"] == "create shop.order.accepted"
    assert parents["process shop.order.accepted"] == "create shop.order.accepted"
    assert parents["step authorise_payment"] == "process shop.order.accepted"
    assert {span.name for span in spans if span.kind == "client"} > {"POST payment", "EVALSHA commit"}
    by_id = {span.span_id: span for span in spans}
    payments = [span for span in spans if span.name == "POST payment"]
    assert [by_id[span.parent_id].name for span in payments] == ["step authorise_payment", "step capture_payment"]
    assert [headers["traceparent"] for headers in paid] == [f"00-{TRACE}-{span.span_id}-01" for span in payments]
    assert {headers["tracestate"] for headers in paid} == {"congo=t61rcWkgMzE"}
    assert {span.service for span in spans} == {"peakgate"}
    assert {span.state for span in spans} == {"congo=t61rcWkgMzE"}
    assert not any(span.is_error for span in spans)
    assert {span["name"] for span in known["spans"]} <= set(parents)
    root = next(span for span in spans if span.name == "POST /v1/checkout")
    assert root.kind == "server"
    assert root.attributes["http.request.method"] == "POST"
    assert root.attributes["http.route"] == "/v1/checkout"
    assert root.attributes["http.response.status_code"] == 202
    sent = json.dumps([{**span.attributes, "name": span.name} for span in spans])
    assert not any(personal in sent for personal in (EMAIL, order_id, cart_id, "tok_"))


def forwarding_to(upstream: Neighbour) -> str:
    """Policies that forward `/shop/` to an upstream."""
    return f"""
[[upstreams]]
name = "shop"
targets = ["{upstream.url}"]

[[routes]]
prefix = "/shop/"
upstream = "shop"
"""


def test_a_share_is_traced_and_else_the_failed_and_the_slow(tmp_path: Path) -> None:
    async def broken(_request: web.Request) -> web.Response:
        return web.Response(status=502)

    with collecting() as collector, Neighbour(answering(broken)) as neighbour:
        policies = forwarding_to(neighbour)
        with open_shop(
            tmp_path, policies, "--otlp-endpoint", collector.url, "--trace-share", "0", "--trace-slow-ms", "60000"
        ) as shop:
            assert shop.call("GET", "/v1/products/85123A", traceparent=TRACEPARENT).status == 200
            failed = shop.call("GET", "/shop/x", traceparent=TRACEPARENT)
            assert failed.status == 502
            span = collector.wait_for("GET /shop/*")
            assert count(shop, "peakgate_traces_total", reason="error") == 1
            assert count(shop, "peakgate_traces_total", reason="share") == 0
            eventually(lambda: count(shop, "peakgate_trace_exports_total", outcome="exported") == 1)
    assert (span.trace_id, span.parent_id, span.is_error) == (TRACE, CALLER, True)
    assert span.attributes["http.response.status_code"] == 502
    assert span.attributes["error.type"] == "502"
    assert span.attributes["peakgate.sampled_by"] == "error"
    assert span.attributes["peakgate.upstream"] == "shop"
    assert len(collector.all()) == 1


def test_without_a_caller_the_trace_ends_in_the_id_of_the_request_and_goes_on_upstream(tmp_path: Path) -> None:
    seen: list[str] = []

    async def echo(request: web.Request) -> web.Response:
        seen.append(request.headers["traceparent"])
        return web.Response()

    with collecting() as collector, Neighbour(answering(echo)) as neighbour:
        policies = f"""
{forwarding_to(neighbour)}
[access_log]
enabled = true
file = "{tmp_path / "access.log"}"
ok_sample_rate = 1.0
"""
        with open_shop(tmp_path, policies, "--otlp-endpoint", collector.url, "--trace-share", "1") as shop:
            response = shop.call("GET", "/shop/x")
            request_id = response.headers["X-Request-Id"]
            call = collector.wait_for("GET")
            root = collector.wait_for("GET /shop/*")
            known = shop.admin("GET", f"/admin/v1/traces/{request_id}")
            assert shop.admin("GET", f"/admin/v1/traces/{TRACE}").status == 404
    assert root.trace_id.endswith(request_id)
    assert root.attributes["peakgate.request_id"] == request_id
    assert (call.kind, call.parent_id) == ("client", root.span_id)
    assert seen == [f"00-{root.trace_id}-{call.span_id}-01"]
    assert known.body["trace_id"] == root.trace_id
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    (line,) = [line for line in lines if line["route"] == "/shop/*"]
    assert (line["trace_id"], line["span_id"]) == (root.trace_id, root.span_id)


def test_a_worker_that_is_replaced_leaves_its_last_traces(tmp_path: Path) -> None:
    with (
        collecting() as collector,
        open_shop(tmp_path, "", "--otlp-endpoint", collector.url, "--trace-share", "1", workers=1) as shop,
    ):
        workers = shop.worker_pids()
        assert shop.call("GET", "/v1/products/85123A").status == 200
        assert shop.admin("POST", "/admin/v1/workers/replace").status == 202
        restarted(shop, workers)
        collector.wait_for("GET /v1/products/{sku}")


@contextmanager
def silent_collector() -> Iterator[str]:
    """A collector that accepts connections and never responds."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                taken.append(listener.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for each in taken:
            each.close()


def test_a_collector_that_never_responds_costs_no_request(tmp_path: Path) -> None:
    with (
        silent_collector() as url,
        open_shop(tmp_path, "", "--otlp-endpoint", url, "--trace-share", "1", workers=1) as shop,
    ):
        for _ in range(200):
            assert shop.call("GET", "/v1/products/85123A").status == 200
        eventually(lambda: count(shop, "peakgate_trace_spans_total", outcome="recorded") >= 200)


def test_an_outage_of_the_collector_is_two_lines(tmp_path: Path) -> None:
    with collecting() as collector:
        collector.answer = 400
        with open_shop(tmp_path, "", "--otlp-endpoint", collector.url, "--trace-share", "1", workers=1) as shop:
            for answer, line in ((400, "does not accept them"), (200, "accepts them again")):
                collector.answer = answer

                def is_logged(line: str = line) -> bool:
                    assert shop.call("GET", "/v1/products/85123A").status == 200
                    return line in shop.log

                eventually(is_logged)
            assert count(shop, "peakgate_trace_exports_total", outcome="failed") > 0
            assert shop.log.count("the collector of traces") == 2


def test_the_start_says_what_is_missing(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden" / "opentelemetry"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").touch()
    ended = peakgate(
        "serve", "--data-dir", str(tmp_path / "data"), "--port", "0", "--otlp-endpoint", "http://127.0.0.1:4318",
        PYTHONPATH=str(hidden.parent),
    )  # fmt: skip
    assert ended.returncode != 0
    assert "pip install 'peakgate[otel]'" in ended.stderr


def test_an_edge_and_a_worker_of_their_own_share_a_trace_through_sqs(
    tmp_path: Path, sqs_endpoint: str, aws_credentials: None
) -> None:
    sqs = boto3.client("sqs", region_name="eu-west-1", endpoint_url=sqs_endpoint)
    queue_url = sqs.create_queue(QueueName="traced-orders")["QueueUrl"]
    (tmp_path / "key").write_text(new_secret())
    shipped: list[str] = []

    async def ship(request: web.Request) -> web.Response:
        shipped.append(request.headers["traceparent"])
        return web.json_response({"reference": "s-1", "carrier": "post"}, status=201)

    edge, worker = RunningShop(tmp_path / "edge"), RunningShop(tmp_path / "worker")
    with collecting() as collector, Neighbour(answering(ship)) as carrier:
        queue = (
            *("--queue-url", sqs_endpoint + urlsplit(queue_url).path, "--aws-endpoint-url", sqs_endpoint),
            *("--aws-region", "eu-west-1", "--workers", "1", "--otlp-endpoint", collector.url, "--trace-share", "0"),
        )
        edge.start("--role", "edge", "--catalog", str(CATALOGUE), "--trace-follow", "yes", *queue)
        try:
            placed = edge.check_out(edge.cart_of(_85123A=1), traceparent=TRACEPARENT)
            assert placed.status == 202
            wanted = {"MessageAttributeNames": ["traceparent"], "VisibilityTimeout": 0}
            received = eventually(lambda: sqs.receive_message(QueueUrl=queue_url, **wanted).get("Messages", []))
            attribute = received[0]["MessageAttributes"]["traceparent"]["StringValue"]
            worker.start(
                *("--role", "worker", "--store-url", f"unix://{edge.data_dir}/valkey.sock"),
                *("--key-file", str(edge.data_dir / "keys.toml"), "--shipping", "http", "--shipping-url", carrier.url),
                *("--shipping-key-file", str(tmp_path / "key")),
                *queue,
            )
            eventually(lambda: edge.order(str(placed.body["id"]))["status"] == "completed")
            collector.wait_for("process shop.order.accepted")
            collector.wait_for("send shop.order.accepted")
        finally:
            for shop in (worker, edge):
                if shop.is_running:
                    shop.stop()
    spans = collector.of(TRACE)
    parents = parents_of(spans)
    (create,) = collector.named("create shop.order.accepted")
    (call,) = collector.named("POST shipping")
    assert attribute == f"00-{TRACE}-{create.span_id}-01"
    assert parents["send shop.order.accepted"] == parents["process shop.order.accepted"] == create.name
    assert parents["POST shipping"] == "step arrange_shipping"
    assert shipped == [f"00-{TRACE}-{call.span_id}-01"]
