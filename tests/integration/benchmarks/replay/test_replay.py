"""The replay against a gateway that loses answers, puts shoppers off, dies, forgets and lies."""

import argparse
import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from aiohttp import web

from benchmarks.replay.catalogue import CatalogueMismatch
from benchmarks.replay.client import Unreachable
from benchmarks.replay.command import add_arguments, replay, run
from benchmarks.replay.report import ReplayReport
from benchmarks.replay.retail import Basket, BasketLine
from checkout.stored import ended_key
from store import Client
from tests.integration.benchmarks.fake_gateway import (
    FakeGateway,
    Handler,
    Responder,
    Server,
    drop_after_applying,
    drop_before_applying,
    no_waiting,
    problem,
    put_off,
    respond_normally,
    serving,
)

PRICES = {"85123A": 255, "71053": 339, "BANK CHARGES": 1500, "22086": 7, "POST": 1800}
START = datetime.fromisoformat("2010-12-01T08:26")


def basket(number: int, lines: Sequence[tuple[str, int]]) -> Basket:
    taken = tuple(BasketLine(sku, sku, quantity, Decimal(1)) for sku, quantity in lines)
    return Basket(str(536365 + number), START + timedelta(minutes=number), taken)


def baskets(count: int = 12) -> list[Basket]:
    """Baskets of 1 to 9 lines; the longer ones repeat a SKU."""
    skus = list(PRICES)
    return [
        basket(number, [(skus[(number + line) % len(skus)], number + line + 1) for line in range(1 + number % 9)])
        for number in range(count)
    ]


def stock_of(wanted: Sequence[Basket]) -> dict[str, int]:
    units = Counter(dict.fromkeys(PRICES, 0))
    for bought in wanted:
        units.update(bought.quantities())
    return dict(units)


def money_of(wanted: Sequence[Basket]) -> int:
    return sum(PRICES[sku] * quantity for bought in wanted for sku, quantity in bought.quantities().items())


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway(PRICES, stock_of(baskets()))


@pytest.fixture
async def server(gateway: FakeGateway) -> AsyncIterator[Server]:
    async with serving(gateway) as started:
        yield started


async def play(server: Server, *, concurrency: int = 4, give_up_s: float = 30.0) -> ReplayReport:
    return await replay(
        baskets(),
        url=server.url,
        concurrency=concurrency,
        give_up_s=give_up_s,
        progress_to=io.StringIO(),
        pause=no_waiting,
    )


def assert_every_basket_was_bought_once(report: ReplayReport, gateway: FakeGateway) -> None:
    assert report.faults == []
    assert report.reconciliation.orders_by_state == {"completed": 12}
    assert len(gateway.orders) == 12
    assert report.reconciliation.money == money_of(baskets())
    assert set(gateway.stock.values()) == {0}


async def test_every_basket_becomes_one_completed_order_at_catalogue_prices(
    server: Server, gateway: FakeGateway
) -> None:
    report = await play(server)

    assert_every_basket_was_bought_once(report, gateway)
    assert (report.reconciliation.lines, report.reconciliation.units) == (
        report.reconciliation.expected.lines,
        gateway.units_sold(),
    )
    assert report.stock is not None
    assert (report.stock.before, report.stock.after) == (gateway.units_sold(), 0)
    assert not report.retries


async def test_pages_of_a_cache_between_are_no_missing_units(server: Server, gateway: FakeGateway) -> None:
    """A short replay takes less time than a page of products may be cached."""
    pages: dict[str, object] = {}
    left = 3

    def answer_from_a_cache(request: web.Request) -> Responder:
        nonlocal left

        async def cached(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            assert isinstance(response, web.Response)
            return web.Response(body=pages.setdefault(request.path_qs, response.body), content_type="application/json")

        if request.path != "/v1/products":
            return respond_normally
        if request.path_qs in pages:
            left -= 1
        return cached if left > 0 else respond_normally

    gateway.misbehave = answer_from_a_cache

    report = await play(server)

    assert_every_basket_was_bought_once(report, gateway)
    assert left <= 0, "pages were read again until the stock agreed"


async def test_pages_of_products_are_asked_for_past_all_caches(server: Server, gateway: FakeGateway) -> None:
    directives = []

    def look(request: web.Request) -> Responder:
        if request.path == "/v1/products":
            directives.append(request.headers.get("Cache-Control"))
        return respond_normally

    gateway.misbehave = look

    await play(server)

    assert set(directives) == {"no-cache"}


async def test_shoppers_use_single_lines_and_batches(server: Server, gateway: FakeGateway) -> None:
    report = await play(server)

    kinds = {row.kind: row.calls for row in report.latencies}
    assert kinds["add a line"] > 0
    assert kinds["set a batch of lines"] > 0
    assert kinds["check out"] == 12


@pytest.mark.parametrize("seed", range(5))
async def test_lost_responses_and_rejections_neither_lose_nor_double_anything(
    server: Server, gateway: FakeGateway, seed: int
) -> None:
    chance = Random(seed)
    ways = [respond_normally] * 5 + [drop_before_applying, drop_after_applying, put_off]

    def misbehave(request: web.Request) -> Responder:
        return respond_normally if request.path == "/healthz" else chance.choice(ways)

    gateway.misbehave = misbehave

    report = await play(server)

    assert_every_basket_was_bought_once(report, gateway)
    assert report.retries["connection lost"] > 0
    assert report.retries["503 overloaded"] > 0


async def test_a_write_whose_response_was_lost_is_recognised_in_the_cart(server: Server, gateway: FakeGateway) -> None:
    gateway.misbehave = _once_for_each_path("POST", "/lines", drop_after_applying)

    report = await play(server)

    assert_every_basket_was_bought_once(report, gateway)
    assert report.retries["connection lost"] > 0


async def test_a_checkout_whose_response_was_lost_is_replayed(server: Server, gateway: FakeGateway) -> None:
    gateway.misbehave = _first_times("POST", "/v1/checkout", 3, drop_after_applying)

    report = await play(server)

    assert_every_basket_was_bought_once(report, gateway)
    assert report.retries["checkout replayed"] == 3


async def test_a_checkout_that_is_still_running_is_retried(server: Server, gateway: FakeGateway) -> None:
    async def still_running(request: web.Request, handler: Handler) -> web.StreamResponse:
        return problem(409, "idempotency-key-in-progress")

    gateway.misbehave = _first_times("POST", "/v1/checkout", 2, still_running)

    report = await play(server)

    assert_every_basket_was_bought_once(report, gateway)
    assert report.retries["409 idempotency-key-in-progress"] == 2


async def test_calls_are_retried_while_a_gateway_restarts(server: Server, gateway: FakeGateway) -> None:
    checkouts = asyncio.Semaphore(0)

    def misbehave(request: web.Request) -> Responder:
        if request.path == "/v1/checkout":
            checkouts.release()
        return respond_normally

    gateway.misbehave = misbehave
    replaying = asyncio.create_task(play(server))
    for _ in range(5):
        await checkouts.acquire()
    await server.stop()
    await server.start()

    assert_every_basket_was_bought_once(await replaying, gateway)


async def test_a_basket_whose_cart_was_lost_is_started_again(server: Server, gateway: FakeGateway) -> None:
    async def forget_the_cart(request: web.Request, handler: Handler) -> web.StreamResponse:
        del gateway.carts[request.match_info["cart"]]
        return await handler(request)

    gateway.misbehave = _first_times("GET", "/v1/carts/", 1, forget_the_cart)

    report = await play(server)

    assert_every_basket_was_bought_once(report, gateway)
    assert report.reconciliation.carts_lost == 1


async def test_a_cart_that_lost_a_confirmed_write_is_started_again(server: Server, gateway: FakeGateway) -> None:
    async def forget_the_last_write(request: web.Request, handler: Handler) -> web.StreamResponse:
        cart = gateway.carts[request.match_info["cart"]]
        if not cart.lines:
            return await handler(request)
        cart.lines.popitem()
        cart.version -= 1
        gateway.misbehave = lambda request: respond_normally
        return await handler(request)

    gateway.misbehave = lambda request: forget_the_last_write if request.path.endswith("/lines") else respond_normally

    report = await play(server, concurrency=1)

    assert_every_basket_was_bought_once(report, gateway)
    assert report.reconciliation.carts_lost == 1


async def test_a_changed_price_is_read_again_and_reported(server: Server, gateway: FakeGateway) -> None:
    async def raise_the_price(request: web.Request, handler: Handler) -> web.StreamResponse:
        gateway.prices = PRICES | {"85123A": 256}
        return await handler(request)

    gateway.misbehave = _first_times("POST", "/v1/checkout", 1, raise_the_price)

    report = await play(server, concurrency=1)

    assert report.reconciliation.orders_by_state == {"completed": 12}
    assert any("the order's total is" in fault for fault in report.faults)
    assert any(fault.startswith("money: ") for fault in report.faults)


async def test_a_cancelled_order_is_a_difference(server: Server, gateway: FakeGateway) -> None:
    gateway.final_state = "cancelled"

    report = await play(server)

    assert report.reconciliation.orders_by_state == {"cancelled": 12}
    assert "baskets bought: 0 instead of 12" in report.faults


async def test_an_accepted_order_that_disappears_is_a_fault(server: Server, gateway: FakeGateway) -> None:
    async def lose_the_order(request: web.Request, handler: Handler) -> web.StreamResponse:
        del gateway.orders[request.match_info["order"]]
        return await handler(request)

    gateway.misbehave = _first_times("GET", "/v1/orders/", 1, lose_the_order)

    report = await play(server)

    assert any(fault.endswith("polling the accepted order returned 404 order-not-found") for fault in report.faults)


async def test_one_order_for_several_baskets_is_a_fault(server: Server, gateway: FakeGateway) -> None:
    async def hand_out_the_first_order(request: web.Request, handler: Handler) -> web.StreamResponse:
        await handler(request)
        return web.json_response(gateway.orders["order0"], status=202)

    gateway.misbehave = lambda request: hand_out_the_first_order if request.path == "/v1/checkout" else respond_normally

    report = await play(server)

    assert "order order0 is the order of 12 baskets" in report.faults


async def test_units_that_left_the_stock_without_an_order_are_a_fault(server: Server, gateway: FakeGateway) -> None:
    async def sell_behind_the_back(request: web.Request, handler: Handler) -> web.StreamResponse:
        gateway.stock["POST"] -= 3
        return await handler(request)

    gateway.misbehave = _first_times("POST", "/v1/checkout", 1, sell_behind_the_back)

    report = await play(server)

    assert "stock of POST is below zero" in report.faults
    assert any(fault.startswith("stock fell by") for fault in report.faults)


async def test_an_order_without_progress_is_given_up(server: Server, gateway: FakeGateway) -> None:
    gateway.polls_until_final = 1_000_000

    report = await play(server, give_up_s=0.3)

    assert report.reconciliation.orders_by_state == {"accepted": 12}
    assert any("gave up after 0.3 s without progress" in fault for fault in report.faults)


async def test_responses_in_another_form_are_faults(server: Server, gateway: FakeGateway) -> None:
    async def nonsense(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.json_response(["?"], status=202)

    gateway.misbehave = lambda request: nonsense if request.path == "/v1/checkout" else respond_normally

    report = await play(server)

    assert any("not in the API's form" in fault for fault in report.faults)


async def test_a_cancelled_replay_reports_its_purchases_so_far(server: Server, gateway: FakeGateway) -> None:
    gateway.polls_until_final = 1_000_000
    polled = asyncio.Event()

    def misbehave(request: web.Request) -> Responder:
        if request.path.startswith("/v1/orders/"):
            polled.set()
        return respond_normally

    gateway.misbehave = misbehave
    replaying = asyncio.create_task(play(server))
    await polled.wait()
    replaying.cancel()
    report = await replaying

    assert report.interrupted
    assert report.faults[0] == "interrupted"


async def test_a_sku_that_the_shop_does_not_sell_is_named_before_anything_is_bought(
    server: Server, gateway: FakeGateway
) -> None:
    del gateway.prices["BANK CHARGES"]

    with pytest.raises(CatalogueMismatch, match=r"1 of the 5 SKUs .* not in the shop's catalogue: BANK CHARGES"):
        await play(server)
    assert gateway.carts == {}


async def test_baskets_begin_at_their_compressed_invoice_times(server: Server, gateway: FakeGateway) -> None:
    waits: list[float] = []

    async def note_the_wait(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    await replay(
        baskets(),
        url=server.url,
        concurrency=1,
        speed=0.01,
        progress_to=io.StringIO(),
        clock=lambda: 1000.0,
        pause=note_the_wait,
    )

    # A minute between two invoices, a hundred times slower.
    assert [round(wait) for wait in waits if wait > 1] == [6000 * number for number in range(1, 12)]


async def test_an_unreachable_gateway_is_reported_before_the_replay_begins(unused_tcp_port: int) -> None:
    with pytest.raises(Unreachable, match=f"no response from a gateway at http://127.0.0.1:{unused_tcp_port}"):
        await replay(baskets(), url=f"http://127.0.0.1:{unused_tcp_port}", progress_to=io.StringIO())


def command(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_command_reports_an_unreachable_gateway_in_one_line(
    tmp_path: Path, unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv(tmp_path, "536365,85123A,HEART,6,01/12/2010 08:26,2.55,17850,United Kingdom\n")

    assert run(command(str(file), "--url", f"http://127.0.0.1:{unused_tcp_port}")) == 69
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "status"),
    [("not,a,retail,file\n1,2,3,4\n", 65), ("InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice\n", 65)],
)
def test_the_command_reports_in_one_line_that_the_file_is_not_in_the_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, status: int
) -> None:
    file = tmp_path / "trade.csv"
    file.write_text(text)

    assert run(command(str(file))) == status
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_reports_in_one_line_that_the_file_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(str(tmp_path / "none.csv"))) == 66
    assert capsys.readouterr().err.endswith("none.csv: No such file or directory\n")


def write_csv(folder: Path, rows: str) -> Path:
    file = folder / "trade.csv"
    file.write_text("InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n" + rows)
    return file


async def test_the_command_writes_its_results_and_succeeds_without_differences(
    server: Server, gateway: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv(tmp_path, "536365,85123A,HEART,6,01/12/2010 08:26,2.55,17850,United Kingdom\n")
    arguments = command(str(file), "--url", server.url, "--json", str(tmp_path / "report.json"))

    assert await asyncio.to_thread(run, arguments) == 0
    assert "Everything adds up." in capsys.readouterr().out
    assert '"money": 1530' in (tmp_path / "report.json").read_text()


async def test_a_run_fails_if_the_audit_at_its_end_finds_something(
    server: Server, store: Client, store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv(tmp_path, "536365,85123A,HEART,6,01/12/2010 08:26,2.55,17850,United Kingdom\n")
    arguments = command(str(file), "--url", server.url, "--audit-store-url", store_url)

    clean = await asyncio.to_thread(run, arguments)
    capsys.readouterr()
    await store.execute("ZADD", ended_key("00"), 1, "00lost")
    faulty = await asyncio.to_thread(run, arguments)

    assert (clean, faulty) == (0, 1)
    assert "the audit at the end failed" in (shown := capsys.readouterr().out)
    assert "00lost" in shown


async def test_a_run_whose_books_cannot_be_read_has_not_passed(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv(tmp_path, "536365,85123A,HEART,6,01/12/2010 08:26,2.55,17850,United Kingdom\n")
    arguments = command(str(file), "--url", server.url, "--audit-store-url", "redis://127.0.0.1:1/0")

    assert await asyncio.to_thread(run, arguments) == 1
    assert "the audit at the end failed" in capsys.readouterr().out


def _first_times(method: str, path: str, times: int, respond: Responder) -> "_Misbehaviour":
    return _Misbehaviour(method, path, respond, times)


def _once_for_each_path(method: str, path_end: str, respond: Responder) -> "_OncePerPath":
    return _OncePerPath(method, path_end, respond)


class _Misbehaviour:
    def __init__(self, method: str, path: str, respond: Responder, times: int) -> None:
        self._method, self._path, self._respond, self._left = method, path, respond, times

    def __call__(self, request: web.Request) -> Responder:
        if self._left and request.method == self._method and request.path.startswith(self._path):
            self._left -= 1
            return self._respond
        return respond_normally


class _OncePerPath:
    def __init__(self, method: str, path_end: str, respond: Responder) -> None:
        self._method, self._path_end, self._respond = method, path_end, respond
        self._seen: set[str] = set()

    def __call__(self, request: web.Request) -> Responder:
        fits = request.method == self._method and request.path.endswith(self._path_end)
        if fits and request.path not in self._seen:
            self._seen.add(request.path)
            return self._respond
        return respond_normally
