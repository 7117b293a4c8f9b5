"""The layer: whom it lets pass without a question, what it tells the others, and what they carry."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import orjson
import pytest
from msgspec.structs import replace
from multidict import CIMultiDict

from gateway.config.policies import Room
from gateway.http.message import Handler, Request, Response, resolve
from gateway.http.negotiation import prefers_html
from gateway.pipeline.degraded import Degraded
from gateway.waitingroom.admission import RoomStatus, Visit
from gateway.waitingroom.cookies import cookie
from gateway.waitingroom.reporter import RoomReporter, Signals
from gateway.waitingroom.room import WaitingRoom
from gateway.waitingroom.room_override import RoomOverride, UnknownRoom
from gateway.waitingroom.rooms import Rooms
from gateway.waitingroom.waiting_room import waiting_room
from primitives.bounded_map import BoundedMap
from store import StoreUnavailable

SECRET = b"s" * 32
SESSION_S = 400.0
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
TABLE = Room(name="drop", routes=("*",), admissions_per_s=10.0, max_active=100, session_s=SESSION_S, reconnect_s=60.0)
STANDING = RoomStatus(7, 3, 1, 20, 0.5, 2.0, 0.5, "checkout is being shed", None)


class FakeStore:
    """A `RoomStore` that says what it is told to, and notes what it was asked."""

    def __init__(self) -> None:
        self.is_away = False
        self.response: tuple[Any, ...] = ("waiting", 4, None)
        self.held: list[str | None] = []
        self.touched: list[str] = []
        self.buyers: list[str] = []
        self.reports: list[tuple[str, float, str, int | None]] = []
        self.gone: set[str] = set()
        # The time of the store, where it has one.
        self.now_s: Callable[[], float | None] = lambda: None

    async def visit(self, room: Room, held: str | None, fresh: str) -> Visit:
        self.held.append(held)
        if self.is_away:
            raise StoreUnavailable("away")
        response, ahead, spare = self.response
        if response == "full":
            return Visit("full", "", 0, 0, None, 1.0, at_s=self.now_s())
        place = fresh if held is None or held in self.gone else held
        return Visit(response, place, ahead + 1, ahead, spare, 2.0, at_s=self.now_s())

    def touch(self, room: Room, place_id: str) -> Awaitable[Any]:
        self.touched.append(place_id)
        return self._reply()

    def bought(self, room: Room, place_id: str) -> Awaitable[Any]:
        self.buyers.append(place_id)
        return self._reply()

    async def report(self, room: Room, reporter: str, factor: float, why: str, stock: int | None) -> RoomStatus:
        if self.is_away:
            raise StoreUnavailable("away")
        self.reports.append((room.name, factor, why, stock))
        return msgspec.structs.replace(STANDING, at_s=self.now_s())

    def _reply(self) -> asyncio.Future[int]:
        reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self.is_away:
            reply.set_exception(StoreUnavailable("away"))
        else:
            reply.set_result(1)
        return reply


class Clock:
    def __init__(self) -> None:
        self.now = 1_795_759_200.0

    def __call__(self) -> float:
        return self.now


class Shopper:
    """Somebody with a browser's cookies, or with the token of a response."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.cookie: str | None = None
        self.token: str | None = None
        self.asked_store = False

    async def get(self, *, method: str = "GET", **headers: str) -> Response:
        fields = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        if self.cookie is not None:
            fields["Cookie"] = f"theme=dark; {self.cookie}; xpeakgate_drop=1"
        if self.token is not None:
            fields["Waiting-Room-Token"] = self.token
        request = Request(method, "/v1/carts", "", fields, b"", "r1", ())
        outcome = self.handler(request)
        self.asked_store = not isinstance(outcome, Response)
        response = await resolve(outcome)
        self.head = (response.header_block + request.extra_headers).decode()
        return response

    def field(self, name: str) -> str | None:
        found = re.search(rf"^{name}: (.*)\r$", self.head, re.MULTILINE)
        return found[1] if found else None

    def take_cookie(self) -> str:
        line = self.field("Set-Cookie")
        assert line is not None
        self.cookie, _, attributes = line.partition("; ")
        return attributes


class Shop:
    """A room, what stands behind it, and those who come."""

    def __init__(
        self, *, sells: bool = False, table: Room = TABLE, clock: Clock | None = None, secure_cookies: bool = False
    ) -> None:
        self.clock = clock or Clock()
        self.store = FakeStore()
        self.served = 0
        self.status = 200
        self.rooms = Rooms(self.store, SECRET, secure_cookies=secure_cookies, now=self.clock, rng=lambda: 0.5)
        self.rooms.update([table])
        self.degraded = Degraded()
        self.handler = waiting_room(self.rooms["drop"], sells=sells, mark=self.degraded.mark)(self.serve)

    def serve(self, _request: Request) -> Response:
        self.served += 1
        return Response(self.status, b"{}")

    def shopper(self) -> Shopper:
        return Shopper(self.handler)

    async def admitted(self) -> Shopper:
        shopper = self.shopper()
        self.store.response = ("admitted", 0, None)
        await shopper.get()
        shopper.take_cookie()
        self.store.response = ("waiting", 4, None)
        return shopper


@pytest.fixture
def shop() -> Shop:
    return Shop()


def members(response: Response) -> dict[str, Any]:
    facts: dict[str, Any] = orjson.loads(response.body)
    return facts


# Waiting


async def test_a_waiting_client_gets_its_position_its_time_and_a_token(shop: Shop) -> None:
    shopper = shop.shopper()

    response = await shopper.get()

    facts = members(response)
    assert (response.status, facts["type"]) == (503, "/problems/waiting-room")
    assert (facts["position"], facts["eta_seconds"]) == (5, 3)
    assert (shopper.field("Retry-After"), shopper.field("Cache-Control")) == ("3", "no-store")
    assert facts["token"]
    assert shop.served == 0


async def test_a_token_in_the_header_holds_the_place(shop: Shop) -> None:
    shopper = shop.shopper()
    shopper.token = members(await shopper.get())["token"]

    again = members(await shopper.get())

    assert again["token"] == shopper.token
    assert shop.store.held[0] is None
    assert shop.store.held[1] in shopper.token


async def test_a_cookie_holds_the_place(shop: Shop) -> None:
    shopper = shop.shopper()
    await shopper.get()
    attributes = shopper.take_cookie()

    await shopper.get()

    assert attributes == "Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"
    assert shop.store.held[1] is not None


async def test_over_https_the_cookie_is_for_https_only(shop: Shop) -> None:
    shopper = shop.shopper()
    await shopper.get(X_Forwarded_Proto="https")

    assert shopper.take_cookie().endswith("; Secure")


async def test_cookies_are_for_https_only_where_that_is_set() -> None:
    shopper = Shop(secure_cookies=True).shopper()
    await shopper.get()

    assert shopper.take_cookie().endswith("; Secure")


async def test_a_browser_gets_a_page_that_refreshes(shop: Shop) -> None:
    shopper = shop.shopper()

    response = await shopper.get(Accept=BROWSER)

    assert (response.status, response.content_type) == (503, b"text/html; charset=utf-8")
    assert (shopper.field("Refresh"), shopper.field("Retry-After"), shopper.field("Cache-Control")) == (
        "3",
        "3",
        "no-store",
    )
    assert shopper.field("Content-Security-Policy") is not None
    assert b"Place 5 in the queue" in response.body


async def test_a_form_gets_a_page_that_does_not_ask_again(shop: Shop) -> None:
    shopper = shop.shopper()

    await shopper.get(method="POST", Accept=BROWSER)

    assert shopper.field("Refresh") is None


@pytest.mark.parametrize("accept", ["", BROWSER])
async def test_the_tail_gets_sold_out_and_keeps_its_place(shop: Shop, accept: str) -> None:
    shop.store.response = ("waiting", 4, 4)
    shopper = shop.shopper()

    response = await shopper.get(Accept=accept)

    assert response.status == 409
    assert b"sold out" in response.body.lower()
    assert shopper.field("Retry-After") == "20"
    shopper.take_cookie()
    await shopper.get()
    assert shop.store.held[1] is not None


async def test_a_place_that_was_given_up_is_replaced_by_a_new_one(shop: Shop) -> None:
    shopper = shop.shopper()
    shopper.token = members(await shopper.get())["token"]
    await shopper.get()
    held = shop.store.held[1]
    assert held is not None
    shop.store.gone.add(held)

    again = members(await shopper.get())

    assert again["token"] != shopper.token


async def test_a_room_that_is_full_gives_no_place(shop: Shop) -> None:
    shop.store.response = ("full", 0, None)
    shopper = shop.shopper()

    response = await shopper.get()

    assert response.status == 503
    assert (members(response)["position"], members(response)["token"]) == (None, None)
    assert shopper.field("Set-Cookie") is None


async def test_options_requests_wait_like_all_others(shop: Shop) -> None:
    assert (await shop.shopper().get(method="OPTIONS")).status == 503
    assert (await shop.shopper().get(method="OPTIONS", Access_Control_Request_Method="GET")).status == 503


# Admitted


async def test_an_admitted_client_is_served_and_gets_a_pass(shop: Shop) -> None:
    shop.store.response = ("admitted", 0, None)
    shopper = shop.shopper()

    response = await shopper.get()

    assert (response.status, shop.served) == (200, 1)
    assert shop.rooms.snapshot()["drop"]["responses"]["admitted"] == 1
    assert shopper.field("Waiting-Room-Token") is not None
    # Nobody else may be given this response with its pass.
    assert shopper.field("Cache-Control") == "private"
    assert shopper.take_cookie() == "Path=/; Max-Age=500; HttpOnly; SameSite=Lax"


async def test_an_admitted_shopper_is_served_without_a_question(shop: Shop) -> None:
    shopper = await shop.admitted()
    asked = len(shop.store.held)

    for _ in range(10):
        shop.clock.now += 9
        assert (await shopper.get()).status == 200
        assert not shopper.asked_store
        assert shopper.head == ""

    assert len(shop.store.held) == asked
    assert shop.store.touched == []


async def test_a_pass_is_good_with_every_gateway_that_has_the_secret(shop: Shop) -> None:
    shopper = await shop.admitted()
    other = Shop(clock=shop.clock)
    shopper.handler = other.handler

    assert (await shopper.get()).status == 200
    assert other.store.held == []


async def test_a_session_in_use_is_renewed_at_a_quarter_of_its_time_with_one_store_call(shop: Shop) -> None:
    shopper = await shop.admitted()
    shop.clock.now += SESSION_S / 4 - 1
    await shopper.get()
    assert shop.store.touched == []
    shop.clock.now += 1

    await shopper.get()
    first = shopper.cookie
    shopper.take_cookie()
    await shopper.get()

    assert shopper.cookie != first
    assert len(shop.store.touched) == 1
    assert not shopper.asked_store


def two_gateways(apart_s: float) -> tuple[Shop, Shop, Clock]:
    """Gateways with clocks that are so far apart, and the clock of their store."""
    time = Clock()
    gateways = Shop(), Shop()
    for gateway, off_s in zip(gateways, (apart_s, 0.0), strict=True):
        gateway.clock.now += off_s
        gateway.store.now_s = time
    return *gateways, time


def advance(seconds: float, *clocks: Clock) -> None:
    for clock in clocks:
        clock.now += seconds


async def seen(gateway: Shop) -> None:
    """Let the gateway report once."""

    async def unknown() -> None:
        return None

    async def none_of(_skus: Sequence[str]) -> int:
        return 0

    signals = Signals(checkout_shed_share=lambda: 0.0, queue_age_s=unknown, stock_of=none_of)
    await RoomReporter(gateway.rooms, signals, reporter="one").tick()


@pytest.mark.parametrize("apart_s", [300.0, -300.0, 7200.0, -7200.0])
async def test_a_session_is_renewed_on_time_by_a_gateway_whose_clock_differs(apart_s: float) -> None:
    one, other, time = two_gateways(apart_s)
    shopper = await one.admitted()
    await seen(other)
    shopper.handler = other.handler

    advance(SESSION_S / 4 - 2, one.clock, other.clock, time)
    assert (await shopper.get()).status == 200
    assert other.store.touched == []
    advance(2, one.clock, other.clock, time)
    assert (await shopper.get()).status == 200
    assert len(other.store.touched) == 1
    assert other.store.held == []


@pytest.mark.parametrize("apart_s", [300.0, -300.0])
async def test_a_pass_ends_with_its_session_whatever_the_clock_of_the_gateway_says(apart_s: float) -> None:
    one, other, time = two_gateways(apart_s)
    shopper = await one.admitted()
    await seen(other)
    shopper.handler = other.handler

    advance(SESSION_S * 1.25 + 1, one.clock, other.clock, time)

    assert (await shopper.get()).status == 503
    assert other.store.held[-1] is not None


async def test_a_clock_that_is_set_back_ends_no_renewals_and_no_sessions() -> None:
    shop, _, time = two_gateways(0.0)
    shopper = await shop.admitted()
    shop.clock.now -= 3600
    await seen(shop)
    advance(SESSION_S / 4, shop.clock, time)

    assert (await shopper.get()).status == 200
    assert len(shop.store.touched) == 1


async def test_a_client_that_never_takes_the_new_pass_is_renewed_once_in_a_quarter_of_its_session(shop: Shop) -> None:
    shopper = await shop.admitted()
    renewals = []
    for passed_s in (SESSION_S / 4, SESSION_S / 4 - 1, 1):
        shop.clock.now += passed_s
        await shopper.get()
        renewals.append(len(shop.store.touched))
    assert renewals == [1, 1, 2]


async def test_a_client_that_never_takes_the_new_pass_is_served_as_long_as_it_is_there(shop: Shop) -> None:
    shopper = await shop.admitted()
    asked = len(shop.store.held)
    for _ in range(30):
        shop.clock.now += SESSION_S / 8
        assert (await shopper.get()).status == 200

    assert len(shop.store.held) == asked
    assert len(shop.store.touched) == 15


async def test_a_client_idle_for_a_session_is_still_admitted_and_later_queues(shop: Shop) -> None:
    shopper = await shop.admitted()
    shop.clock.now += SESSION_S
    assert (await shopper.get()).status == 200

    shop.clock.now += SESSION_S * 1.25

    assert (await shopper.get()).status == 503
    # His session may have gone on elsewhere, so it is asked about.
    assert shop.store.held[-1] is not None


async def test_an_expired_place_is_not_asked_about(shop: Shop) -> None:
    shopper = shop.shopper()
    shopper.token = members(await shopper.get())["token"]
    shop.clock.now += 86_400

    await shopper.get()

    assert shop.store.held == [None, None]


async def test_an_order_tells_the_room_that_no_stock_is_left_for_its_shopper() -> None:
    shop = Shop(sells=True)
    shopper = shop.shopper()
    shop.store.response = ("admitted", 0, None)
    shop.status = 202

    await shopper.get()

    assert len(shop.store.buyers) == 1


async def test_an_order_of_a_known_shopper_tells_it_too_and_a_refused_one_does_not() -> None:
    shop = Shop(sells=True)

    async def serve(_request: Request) -> Response:
        return Response(shop.status, b"{}")

    shop.handler = waiting_room(shop.rooms["drop"], sells=True)(serve)
    shopper = await shop.admitted()
    shop.status = 409
    await shopper.get()
    assert shop.store.buyers == []

    shop.status = 202
    await shopper.get()

    assert len(shop.store.buyers) == 1


async def test_sessions_are_bounded(shop: Shop) -> None:
    sessions = shop.rooms["drop"]._sessions = BoundedMap(6)
    shoppers = [await shop.admitted() for _ in range(20)]

    assert len(sessions) <= 6
    assert {(await shopper.get()).status for shopper in shoppers} == {200}


# Tokens that are not ours


@pytest.mark.parametrize("token", ["", "x", "pass.1.abc.1.9999999999.AAAA", "pass." * 100])
async def test_a_token_that_is_not_ours_makes_a_newcomer(shop: Shop, token: str) -> None:
    shopper = shop.shopper()
    shopper.token = token

    assert (await shopper.get()).status == 503
    assert shop.store.held == [None]


async def test_a_pass_of_another_room_makes_a_newcomer(shop: Shop) -> None:
    other = WaitingRoom(Room(name="sale", routes=("*",), admissions_per_s=1, max_active=1), shop.store, SECRET)
    shop.store.response = ("admitted", 0, None)
    elsewhere = Shopper(waiting_room(other)(shop.serve))
    await elsewhere.get()
    shop.store.response = ("waiting", 4, None)
    shopper = shop.shopper()
    shopper.token = elsewhere.field("Waiting-Room-Token")

    assert (await shopper.get()).status == 503
    assert shop.store.held[-1] is None


async def test_a_place_is_no_pass(shop: Shop) -> None:
    shopper = shop.shopper()
    token = members(await shopper.get())["token"]
    shopper.token = token.replace("place", "pass", 1)

    assert (await shopper.get()).status == 503


# The store is away


async def test_an_answer_that_knows_no_place_says_that_it_is_degraded(shop: Shop) -> None:
    await shop.shopper().get()
    assert shop.degraded.counts["waiting-room"] == 0
    shop.store.is_away = True
    await shop.shopper().get()
    assert shop.degraded.counts["waiting-room"] == 1


async def test_without_the_store_nobody_new_comes_in(shop: Shop) -> None:
    shop.store.is_away = True
    shopper = shop.shopper()

    response = await shopper.get()

    assert (response.status, shop.served) == (503, 0)
    assert members(response)["position"] is None
    assert shopper.field("Retry-After") == "10"
    assert b"One moment" in (await shopper.get(Accept=BROWSER)).body


async def test_without_the_store_a_place_is_not_lost(shop: Shop) -> None:
    shopper = shop.shopper()
    shopper.token = members(await shopper.get())["token"]
    shop.store.is_away = True

    response = await shopper.get()

    assert members(response)["token"] == shopper.token
    assert b"You have not lost it" in (await shopper.get(Accept=BROWSER)).body


async def test_without_the_store_admitted_clients_are_served(shop: Shop) -> None:
    shopper = await shop.admitted()
    shop.store.is_away = True
    for _ in range(10):
        shop.clock.now += SESSION_S / 2
        assert (await shopper.get()).status == 200


# Reload


async def test_a_room_that_is_off_or_gone_lets_everybody_pass(shop: Shop) -> None:
    off = Room(name="drop", routes=("*",), admissions_per_s=1.0, max_active=1, enabled=False)
    shop.rooms.update([off])
    assert (await shop.shopper().get()).status == 200

    shop.rooms.update([TABLE])
    assert (await shop.shopper().get()).status == 503

    shop.rooms.update([])
    assert (await shop.shopper().get()).status == 200
    assert len(shop.rooms) == 0


async def test_admitted_clients_stay_admitted_after_a_reload(shop: Shop) -> None:
    shopper = await shop.admitted()
    room = shop.rooms["drop"]

    shop.rooms.update([Room(name="drop", routes=("*",), admissions_per_s=99.0, max_active=9)])

    assert shop.rooms["drop"] is room
    assert room.table.admissions_per_s == 99.0
    assert (await shopper.get()).status == 200


# The reporter


def reporter(shop: Shop, *, stock: int | Exception = 5, shed: float = 0.0, age: float | None = None) -> RoomReporter:
    async def queue_age_s() -> float | None:
        return age

    async def stock_of(_skus: object) -> int:
        if isinstance(stock, Exception):
            raise stock
        return stock

    return RoomReporter(shop.rooms, Signals(lambda: shed, queue_age_s, stock_of), reporter="w1", clock=lambda: 1000.0)


async def test_the_reporter_reports_to_every_open_room() -> None:
    shop = Shop(table=Room(name="drop", routes=("*",), admissions_per_s=1.0, max_active=1, skus=("SNEAKER",)))

    await reporter(shop, shed=0.5).tick()

    assert shop.store.reports == [("drop", 0.5, "checkout is being shed", 5)]


async def test_each_room_has_its_own_bound_for_the_age_of_orders(shop: Shop) -> None:
    patient = Room(name="patient", routes=("*",), admissions_per_s=1.0, max_active=1, max_queue_age_s=600.0)
    shop.rooms.update([TABLE, patient])

    await reporter(shop, age=100.0).tick()

    assert {(name, factor) for name, factor, _, _ in shop.store.reports} == {("drop", 0.5), ("patient", 1.0)}


async def test_a_stock_that_cannot_be_read_is_not_known() -> None:
    shop = Shop(table=Room(name="drop", routes=("*",), admissions_per_s=1.0, max_active=1, skus=("SNEAKER",)))

    await reporter(shop, stock=StoreUnavailable("away")).tick()

    assert shop.store.reports == [("drop", 1.0, "", None)]


async def test_a_disabled_room_gets_no_reports(shop: Shop) -> None:
    shop.rooms["drop"].is_enabled = False

    await reporter(shop).tick()

    assert shop.store.reports == []


async def test_a_store_that_is_away_leaves_the_room_as_it_was(shop: Shop) -> None:
    room_reporter = reporter(shop)
    await room_reporter.tick()
    shop.store.is_away = True

    await room_reporter.tick()

    assert shop.rooms["drop"].status == STANDING


# What is seen


async def test_how_a_room_is_doing_can_be_seen(shop: Shop) -> None:
    await reporter(shop).tick()
    await shop.shopper().get()

    seen = shop.rooms.snapshot()["drop"]

    assert orjson.loads(orjson.dumps(seen)) == seen
    assert (seen["waiting"], seen["active"], seen["factor"], seen["why"]) == (7, 3, 0.5, "checkout is being shed")
    assert (seen["bound_by"], seen["responses"]["waiting"]) == ("the rate", 1)


async def test_metrics_are_labelled_by_room_and_outcome_only(shop: Shop) -> None:
    await reporter(shop).tick()

    families = {metric.name: metric for metric in shop.rooms.metrics()}

    assert families["peakgate_room_waiting"].samples[0].value == 7
    assert {frozenset(each.labels) for metric in families.values() for each in metric.samples} == {
        frozenset({"room"}),
        frozenset({"room", "outcome"}),
    }


# Fields


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/problem+json, text/html;q=0.5", False),
        (BROWSER, True),
        ("text/html", True),
        ("text/*", True),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", False),
        ("TEXT/HTML; Q=0.9, application/json;q=0.1", True),
        (",;,=;q=", False),
    ],
)
def test_a_page_is_for_clients_that_prefer_html(accept: str, html: bool) -> None:
    assert prefers_html(accept) is html


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        ("room=a", "a"),
        ("x=1; room=a; y=2", "a"),
        ("x=1;room=a", "a"),
        ("broom=b; room=a", "a"),
        ("broom=b", None),
        ("room=", ""),
        ("room=a ;x=1", "a"),
        ("", None),
    ],
)
def test_a_cookie_is_found_by_its_whole_name(cookies: str, value: str | None) -> None:
    assert cookie(cookies, "room=") == value


# Settings of operators


async def test_a_room_that_an_operator_closes_lets_clients_pass_until_that_is_withdrawn(shop: Shop) -> None:
    shop.rooms.override("drop", RoomOverride(enabled=False))
    await shop.shopper().get()
    assert shop.served == 1
    shop.rooms.override("drop", RoomOverride())
    await shop.shopper().get()
    assert shop.served == 1


def test_the_rate_of_an_operator_lasts_over_a_reload_and_ends_with_the_room(shop: Shop) -> None:
    shop.rooms.override("drop", RoomOverride(admissions_per_s=0))
    shop.rooms.update([replace(TABLE, max_active=7)])
    assert (shop.rooms["drop"].table.admissions_per_s, shop.rooms["drop"].table.max_active) == (0, 7)
    assert shop.rooms.snapshot()["drop"]["override"] == {"enabled": None, "admissions_per_s": 0}
    shop.rooms.update([])
    shop.rooms.update([TABLE])
    assert shop.rooms["drop"].table == TABLE


@pytest.mark.parametrize("rate", [-1.0, 2e6, float("nan")])
def test_an_invalid_rate_of_an_operator_changes_nothing(shop: Shop, rate: float) -> None:
    with pytest.raises(ValueError, match="admissions_per_s"):
        shop.rooms.override("drop", RoomOverride(admissions_per_s=rate))
    assert shop.rooms["drop"].table == TABLE


def test_a_room_that_the_file_lacks_cannot_be_set(shop: Shop) -> None:
    with pytest.raises(UnknownRoom):
        shop.rooms.override("dorp", RoomOverride(enabled=False))
