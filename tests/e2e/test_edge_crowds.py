"""A drop: a waiting room, switches and events of a running gateway, and policies that change while it serves."""

import html
import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running_shop import RunningShop, eventually
from tests.e2e.surroundings import Kept, count, crowd, open_shop, part, policies_of, reload, restarted

# Long enough for the calls of a busy machine: each of a paused store takes it.
STORE_TIMEOUT_S = "1"
SNEAKER = "/v1/products/85123A"
ROOM = """
[[rooms]]
name = "drop"
routes = ["GET /v1/products/{sku}"]
admissions_per_s = 100
max_active = %d
"""
SEARCH = """
[[switches]]
name = "search"
routes = ["GET /v1/products"]
"""
LIMIT = """
[[limits]]
name = "per-client"
by = "address"
quota = %s
window_s = 3600
routes = ["GET /openapi.json"]
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    with open_shop(tmp_path_factory.mktemp("crowds"), "") as shop:
        yield shop


# The waiting room


def wait_in(gate: RunningShop, token: str | None = None) -> Any:
    """What a shopper without a browser is told."""
    held = {} if token is None else {"Waiting_Room_Token": token}
    return gate.call("GET", SNEAKER, **held)


def test_shoppers_wait_their_turn_and_lose_no_place_whatever_becomes_of_the_processes(gate: RunningShop) -> None:
    assert reload(gate, ROOM % 1).status == 200
    first = wait_in(gate)
    assert first.status == 200
    inside = first.headers["Waiting-Room-Token"]
    waiting = [wait_in(gate) for _ in range(3)]
    for position, told in enumerate(waiting, start=1):
        assert (told.status, told.body["type"]) == (503, "/problems/waiting-room")
        assert (told.body["position"], told.body["status"]) == (position, 503)
        assert int(told.headers["Retry-After"]) >= 1
        assert told.headers["Cache-Control"] == "no-store"
        assert "eta_seconds" in told.body
    tokens = [told.body["token"] for told in waiting]

    def places() -> list[int | None]:
        return [wait_in(gate, token).body.get("position") for token in tokens]

    assert places() == [1, 2, 3]
    before = gate.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    restarted(gate, before)
    assert places() == [1, 2, 3]
    before = gate.worker_pids()
    assert gate.admin("POST", "/admin/v1/workers/replace").status == 202
    restarted(gate, before)
    assert places() == [1, 2, 3]
    # The one who is in is not asked again, by any worker, however often he comes.
    assert {wait_in(gate, inside).status for _ in range(16)} == {200}
    # A place that somebody made up, or that is of another room, is none.
    assert wait_in(gate, tokens[0][:-4] + "AAAA").body["position"] == 4
    assert reload(gate, ROOM % 2).status == 200
    second = eventually(lambda: wait_in(gate, tokens[0]), lambda told: told.status == 200)
    assert {wait_in(gate, second.headers["Waiting-Room-Token"]).status for _ in range(16)} == {200}
    assert places() == [None, 1, 2]
    rooms = eventually(
        lambda: part(gate, "rooms"), lambda rooms: all(room["drop"].get("active") == 2 for room in rooms)
    )
    assert {room["drop"]["waiting"] for room in rooms} == {3}
    reload(gate, "")
    assert {wait_in(gate, token).status for token in tokens} == {200}


def test_a_browser_gets_a_page_that_polls_and_becomes_the_requested_one(gate: RunningShop) -> None:
    assert reload(gate, ROOM.replace("drop", "browsers") % 1).status == 200
    assert gate.call("GET", SNEAKER, Accept="text/html").status == 200
    page = gate.call("GET", SNEAKER, Accept="text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
    assert page.status == 503
    assert page.headers["Content-Type"].startswith("text/html")
    assert int(page.headers["Refresh"].split(";")[0]) >= 1
    assert "<script" not in page.body
    assert re.search(r'<html[^>]* lang="en"', page.body)
    assert page.headers["Content-Security-Policy"]
    cookie = page.headers["Set-Cookie"]
    assert cookie.startswith("peakgate_browsers=")
    assert "HttpOnly" in cookie
    held = cookie.split(";")[0]
    again = gate.call("GET", SNEAKER, Accept="text/html", Cookie=f"theme=dark; {held}")
    assert again.headers["Set-Cookie"].split(";")[0] == held, "the same place"
    reload(gate, ROOM.replace("drop", "browsers") % 5)
    wanted = eventually(
        lambda: gate.call("GET", SNEAKER, Accept="text/html", Cookie=held), lambda told: told.status == 200
    )
    assert wanted.body["sku"] == "85123A"
    reload(gate, "")


def test_a_crowd_gets_places_without_gaps_and_only_the_cap_is_admitted(gate: RunningShop) -> None:
    assert reload(gate, ROOM.replace("drop", "rush") % 5).status == 200
    responses = crowd(gate, 100, "GET", SNEAKER)
    admitted = [response for response in responses if response.status == 200]
    waiting = [response.body for response in responses if response.status == 503]
    assert (len(admitted), len(waiting)) == (5, 95)
    numbers = [int(told["token"].split(".")[1]) for told in waiting]
    assert len(set(numbers)) == 95
    assert max(numbers) == 100
    reload(gate, "")


def test_clients_beyond_the_stock_get_sold_out(gate: RunningShop) -> None:
    product = gate.call("GET", "/v1/products/10123C").body
    assert product["stock"] == 1
    assert reload(gate, ROOM.replace("drop", "last-one") % 10 + 'skus = ["10123C"]\n').status == 200
    # The stock is read about every second.
    eventually(lambda: count(gate, "peakgate_room_stock", room="last-one"), lambda stock: stock == 2)
    assert wait_in(gate).status == 200
    tail = wait_in(gate)
    assert (tail.status, tail.body["type"]) == (409, "/problems/sold-out")
    assert tail.body["token"]
    page = gate.call("GET", SNEAKER, Accept="text/html", Waiting_Room_Token=tail.body["token"])
    assert "sold out" in page.body.lower()
    reload(gate, "")


def test_while_the_store_is_paused_admitted_clients_are_served_and_the_others_keep_their_place(tmp_path: Path) -> None:
    with open_shop(tmp_path, ROOM.replace("drop", "paused") % 1, "--store-timeout", STORE_TIMEOUT_S) as gate:
        inside = wait_in(gate).headers["Waiting-Room-Token"]
        token = wait_in(gate).body["token"]
        store = gate.store_pid()
        os.kill(store, signal.SIGSTOP)
        try:
            assert {wait_in(gate, inside).status for _ in range(16)} == {200}
            unknown = wait_in(gate, token)
            assert (unknown.status, unknown.body["position"], unknown.body["token"]) == (503, None, token)
            newcomer = wait_in(gate)
            assert (newcomer.status, newcomer.body["token"]) == (503, None)
        finally:
            os.kill(store, signal.SIGCONT)
        again = eventually(lambda: wait_in(gate, token), lambda told: told.body["position"] is not None)
        assert (again.status, again.body["position"], again.body["token"]) == (503, 1, token)


# Switches


def search(gate: RunningShop) -> set[int]:
    """What shoppers get in any worker."""
    return {gate.call("GET", "/v1/products?q=heart").status for _ in range(16)}


def test_a_switch_is_set_by_the_file_and_overridden(gate: RunningShop) -> None:
    reload(gate, SEARCH)
    assert search(gate) == {200}
    reload(gate, SEARCH + "enabled = false\n")
    assert search(gate) == {503}
    refused = gate.call("GET", "/v1/products")
    assert refused.body["type"] == "/problems/disabled"
    assert 30 <= int(refused.headers["Retry-After"]) <= 60
    assert gate.call("GET", SNEAKER).status == 200
    assert gate.admin("POST", "/admin/v1/switches/search", {"enabled": True}).status == 200
    assert search(gate) == {200}
    assert gate.admin("POST", "/admin/v1/switches/search", {}).status == 200
    assert search(gate) == {503}
    assert gate.admin("POST", "/admin/v1/switches/no-such", {"enabled": False}).status in {404, 422}
    reload(gate, "")
    assert search(gate) == {200}


def test_a_share_of_clients_is_the_same_in_every_worker(gate: RunningShop) -> None:
    reload(gate, '[identity]\ntrusted_proxies = ["127.0.0.1"]\n' + SEARCH + "percent = 50\n")

    def statuses(client: int) -> set[int]:
        return {gate.call("GET", "/v1/products", X_Forwarded_For=f"198.51.100.{client}").status for _ in range(8)}

    seen = [statuses(client) for client in range(24)]
    assert all(len(each) == 1 for each in seen)
    assert {status for each in seen for status in each} == {200, 503}
    reload(gate, "")


# Events


def moment(seconds: float) -> str:
    """So many seconds from now, as the file writes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def test_an_event_begins_and_reverts_by_itself(gate: RunningShop) -> None:
    calm = SEARCH + LIMIT % 100 + ROOM % 1 + "enabled = false\n"

    def event(start: str, end: str) -> str:
        return f"""
[[events]]
name = "drop"
start = {start}
end = {end}
prewarm_s = 1
prewarm = ["/v1/products?limit=7"]
limits = {{ per-client = 40 }}
rooms = {{ drop = true }}
switches = {{ search = false }}
"""

    def told() -> tuple[int, str, bool]:
        switched = gate.call("GET", "/v1/products").status
        policy = gate.call("GET", "/openapi.json").headers["RateLimit-Policy"]
        is_open = any(gate.call("GET", SNEAKER).status == 503 for _ in range(2))
        return switched, policy, is_open

    # Of its two moments one is far away each time, so that no machine is too slow to see what is between them.
    much_later = moment(3600)
    assert reload(gate, calm + event(moment(1800), much_later)).status == 200
    coming = eventually(lambda: part(gate, "events"), lambda events: len(events) == 2)
    assert {each["coming"][0] for each in coming} == {"drop"}
    assert gate.call("GET", "/v1/products").status == 200
    start = moment(1.5)
    assert reload(gate, calm + event(start, much_later)).status == 200
    eventually(told, lambda told: told == (503, '"per-client";q=40;w=3600', True))
    eventually(lambda: count(gate, "peakgate_event_running", event="drop"), lambda running: running == 2)
    assert reload(gate, calm + event(start, moment(1.5))).status == 200
    eventually(told, lambda told: told == (200, '"per-client";q=100;w=3600', False))
    with Kept(gate) as shopper:
        # It was fetched before its time by each worker: nobody has asked for it since, and it is there.
        page = eventually(lambda: shopper.get("/v1/products?limit=7"), lambda page: page.status == 200)
        assert "fwd=uri-miss" not in page.headers["cache-status"]
    eventually(lambda: count(gate, "peakgate_event_running", event="drop"), lambda running: running == 0)
    reload(gate, "")


# Reloads


def test_a_file_with_faults_changes_nothing_and_reports_all_of_them(gate: RunningShop) -> None:
    good = LIMIT % 100
    digest = reload(gate, good).body["digest"]
    with Kept(gate) as shopper:
        assert "q=100" in shopper.get("/openapi.json").headers["ratelimit-policy"]
        bad = LIMIT % 10 + '[[switches]]\nname = "Search"\npercent = 101\n'
        refused = reload(gate, bad)
        assert (refused.status, refused.body["type"]) == (422, "/problems/configuration-rejected")
        assert len(refused.body["errors"]) == 2
        assert "q=100" in shopper.get("/openapi.json").headers["ratelimit-policy"]
        status = gate.admin("GET", "/admin/v1/status").body
        assert (status["policies"]["digest"], status["last_reload"]["outcome"]) == (digest, "rejected")
        eventually(lambda: count(gate, "peakgate_last_reload_rejected"), lambda found: found == 1)
        page = html.unescape(gate.admin("GET", "/plain").body)
        assert all(fault in page for fault in refused.body["errors"])
        policies_of(gate).write_text(LIMIT % 200)
        os.kill(gate.pid, signal.SIGHUP)
        # On the same connection all the while.
        eventually(lambda: shopper.get("/openapi.json").headers["ratelimit-policy"], lambda told: "q=200" in told)
    eventually(lambda: count(gate, "peakgate_last_reload_rejected"), lambda found: found == 0)


def test_used_quota_survives_a_reload(gate: RunningShop) -> None:
    other = LIMIT.replace("per-client", "kept").replace("/openapi.json", "/docs")
    reload(gate, other % 10)
    with Kept(gate) as shopper:
        left = [shopper.get("/docs").headers["ratelimit"] for _ in range(4)]
        assert "r=6" in left[-1]
        reload(gate, other % 20)
        assert "r=15" in shopper.get("/docs").headers["ratelimit"]
    reload(gate, "")


def test_a_route_appears_and_goes_with_the_file(gate: RunningShop) -> None:
    upstream = '[[upstreams]]\nname = "web"\ntargets = ["http://127.0.0.1:1"]\n'
    route = '[[routes]]\nprefix = "/web/"\nupstream = "web"\n'
    with Kept(gate) as shopper:
        assert shopper.get("/web/x").status == 404
        assert reload(gate, upstream + route).status == 200
        assert shopper.get("/web/x").status == 502
        assert reload(gate, upstream + route.replace('web"', 'wbe"')).status == 422
        assert shopper.get("/web/x").status == 502
        assert reload(gate, "").status == 200
        assert shopper.get("/web/x").status == 404
