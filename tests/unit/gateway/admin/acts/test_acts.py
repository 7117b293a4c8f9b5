"""Acts by the admin API: done, recorded, expired, undone, and two operators at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from gateway.admin.acts.audit_log import AuditLog
from gateway.admin.admin import Admin
from gateway.admin.workers import Workers
from gateway.control.runtime_directory import RuntimeDirectory
from tests.unit.gateway.admin.small_workers import Fleet, SmallWorker, write
from tests.unit.gateway.admin.test_admin import TOKEN, Desk, Told, admin_of

START, END = "2026-11-27T08:00:00Z", "2036-11-27T10:00:00Z"
FILE = f"""
[[switches]]
name = "search"

[[rooms]]
name = "drop"
routes = ["*"]
admissions_per_s = 10
max_active = 100

[[events]]
name = "sale"
start = {START}
end = {END}
"""
NOW = 1_790_000_000.0
VIEWER_TOKEN = "the-token-of-viewers"


class Console(Desk):
    """The API of a gateway with one worker, and a clock that the test moves."""

    def __init__(self, client: TestClient[Any, Any], admin: Admin, worker: SmallWorker, clock: Clock) -> None:
        super().__init__(client, [])
        self.admin = admin
        self.worker = worker
        self.clock = clock

    async def act(self, path: str, **body: object) -> Told:
        return await self.call("POST", f"/admin/v1/{path}", body)

    async def acts(self) -> list[dict[str, Any]]:
        """The audit log, the latest first."""
        acts: list[dict[str, Any]] = (await self.call("GET", "/admin/v1/acts")).body["acts"]
        return acts

    async def undo(self, act: Told) -> Told:
        return await self.act(f"acts/{act.body['act']}/undo")


class Clock:
    """Unix time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def console(
    file: Path, workers: Workers, runtime: RuntimeDirectory, fleet: Fleet, tmp_path: Path
) -> AsyncIterator[Console]:
    write(file, FILE)
    runtime.policies = FILE
    worker = await fleet.start("0a")
    clock = Clock()
    log = AuditLog(tmp_path / "acts.jsonl")
    admin = admin_of(file, workers, runtime, replaced=[], audit_log=log, now=clock, viewer_token=VIEWER_TOKEN)
    async with TestClient(TestServer(admin.application())) as client:
        yield Console(client, admin, worker, clock)


# Each act: its path, its body, the arguments of the worker's command, and those that withdraw it.
ACTS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (
        "switches/search",
        {"enabled": False},
        {"name": "search", "enabled": False, "percent": None},
        {"name": "search", "enabled": None, "percent": None},
    ),
    (
        "drills/payment",
        {"tripped": True, "reason": "game day"},
        {"name": "payment", "tripped": True, "reason": "game day"},
        {"name": "payment", "tripped": False, "reason": None},
    ),
    (
        "rooms/drop",
        {"admissions_per_s": 0},
        {"name": "drop", "enabled": None, "admissions_per_s": 0},
        {"name": "drop", "enabled": None, "admissions_per_s": None},
    ),
    (
        "rooms/drop",
        {"enabled": True, "admissions_per_s": 2.5},
        {"name": "drop", "enabled": True, "admissions_per_s": 2.5},
        {"name": "drop", "enabled": None, "admissions_per_s": None},
    ),
    (
        "events/sale",
        {"running": True},
        {"name": "sale", "start": NOW, "end": None},
        {"name": "sale", "start": None, "end": None},
    ),
    (
        "events/sale",
        {"running": False},
        {"name": "sale", "start": None, "end": NOW},
        {"name": "sale", "start": None, "end": None},
    ),
]


@pytest.mark.parametrize(("path", "body", "done", "withdrawn"), ACTS)
async def test_an_act_is_done_recorded_and_undone(
    console: Console, path: str, body: dict[str, Any], done: dict[str, Any], withdrawn: dict[str, Any]
) -> None:
    told = await console.act(path, **body)
    assert (told.status, told.body["workers"]) == (200, {"0a": {"done": 3}})
    assert console.worker.told == [done]
    [act] = await console.acts()
    values = {name: value for name, value in done.items() if name != "name"}
    assert (act["who"], act["address"], act["at"], act["act"]) == ("admin token", "127.0.0.1", NOW, path)
    assert (act["before"], act["after"]) == (None, {**values, "until": told.body["expires_at"]})
    assert (act["can_undo"], act["undone_by"]) == (True, None)

    undone = await console.undo(told)
    assert undone.status == 200
    assert console.worker.told == [done, withdrawn]
    undo, act = await console.acts()
    assert (undo["undoes"], undo["before"], undo["after"]) == (act["id"], act["after"], None)
    assert (act["can_undo"], act["undone_by"]) == (False, undo["id"])


@pytest.mark.parametrize("path", ["switches/search", "drills/payment", "rooms/drop"])
async def test_a_setting_by_hand_expires_after_an_hour_unless_said_otherwise(console: Console, path: str) -> None:
    body = {"switches/search": {"enabled": False}, "rooms/drop": {"enabled": False}}.get(path, {})
    told = await console.act(path, **body)
    assert told.body["expires_at"] == NOW + 3600
    console.clock.now = NOW + 3599
    await console.admin.settings.withdraw_expired()
    assert len(console.worker.told) == 1
    console.clock.now = NOW + 3600
    await console.admin.settings.withdraw_expired()
    await console.admin.settings.withdraw_expired()
    assert len(console.worker.told) == 2
    expired, _ = await console.acts()
    assert (expired["who"], expired["address"], expired["act"], expired["after"]) == ("expiry", None, path, None)


async def test_the_time_of_a_setting_may_be_given_and_zero_is_for_ever(console: Console) -> None:
    assert (await console.act("switches/search", enabled=False, expires_in_s=60)).body["expires_at"] == NOW + 60
    assert (await console.act("switches/search", enabled=False, expires_in_s=0)).body["expires_at"] is None
    console.clock.now = NOW + 1e9
    await console.admin.settings.withdraw_expired()
    assert len(await console.acts()) == 2
    assert (await console.act("switches/search", enabled=False, expires_in_s=-1)).status == 422


async def test_an_undo_restores_the_setting_before_with_the_rest_of_its_time(console: Console) -> None:
    await console.act("switches/search", percent=50, expires_in_s=600)
    off = await console.act("switches/search", enabled=False)
    console.clock.now = NOW + 100
    assert (await console.undo(off)).body["expires_at"] == NOW + 600
    assert console.worker.told[-1] == {"name": "search", "enabled": None, "percent": 50}


async def test_an_undo_does_not_restore_a_setting_that_would_have_expired(console: Console) -> None:
    await console.act("switches/search", percent=50, expires_in_s=600)
    off = await console.act("switches/search", enabled=False, expires_in_s=0)
    console.clock.now = NOW + 601
    assert (await console.undo(off)).status == 200
    assert console.worker.told[-1] == {"name": "search", "enabled": None, "percent": None}


async def test_an_undo_can_be_undone(console: Console) -> None:
    off = await console.act("switches/search", enabled=False)
    undone = await console.undo(off)
    assert (await console.undo(undone)).status == 200
    assert console.worker.told[-1] == {"name": "search", "enabled": False, "percent": None}


async def test_of_two_operators_who_undo_one_act_one_succeeds(console: Console) -> None:
    off = await console.act("switches/search", enabled=False)
    told = await asyncio.gather(console.undo(off), console.undo(off))
    assert sorted(each.status for each in told) == [200, 409]
    assert len(console.worker.told) == 2


async def test_an_act_that_another_has_overwritten_cannot_be_undone(console: Console) -> None:
    first = await console.act("switches/search", enabled=False)
    await console.act("switches/search", percent=10)
    refused = await console.undo(first)
    assert (refused.status, refused.body["type"]) == (409, "/problems/changed-meanwhile")
    assert refused.body["current"]["percent"] == 10
    assert [act["can_undo"] for act in await console.acts()] == [False, True, False]


async def test_of_two_operators_who_act_on_one_view_the_second_is_refused(console: Console) -> None:
    seen = {"enabled": None, "percent": None}
    told = await asyncio.gather(
        console.act("switches/search", enabled=False, expected=seen),
        console.act("switches/search", percent=10, expected=seen),
    )
    assert sorted(each.status for each in told) == [200, 409]
    assert len(console.worker.told) == 1


async def test_a_worker_that_was_stuck_takes_the_setting_later(
    file: Path, runtime: RuntimeDirectory, fleet: Fleet
) -> None:
    runtime.policies = FILE
    await fleet.start("0a")
    stuck = await fleet.start("1a")
    stuck.stuck_in = "switch"
    admin = admin_of(file, Workers(runtime, act_timeout_s=2.0), runtime, replaced=[])
    async with TestClient(TestServer(admin.application())) as client:
        told = await Desk(client, []).call("POST", "/admin/v1/switches/search", {"enabled": False})
    assert "error" in told.body["workers"]["1a"]
    stuck.stuck_in = None
    await admin.settings.update_lagging_workers()
    assert stuck.told == [{"name": "search", "enabled": False, "percent": None}]
    await admin.settings.update_lagging_workers()
    assert len(stuck.told) == 1


async def test_an_act_that_all_workers_refuse_changes_nothing_and_is_recorded(console: Console) -> None:
    console.worker.refuses_because = "broken"
    assert (await console.act("switches/search", enabled=False)).status == 422
    [act] = await console.acts()
    assert (act["status"], act["can_undo"], act["after"]) == (422, False, None)
    assert console.admin.settings.current("switch", "search") is None


async def test_a_setting_that_expires_while_no_worker_replies_is_gone_for_those_that_start(console: Console) -> None:
    await console.act("switches/search", enabled=False, expires_in_s=1)
    console.worker.refuses_because = "broken"
    console.clock.now = NOW + 2
    await console.admin.settings.withdraw_expired()
    assert console.admin.settings.current("switch", "search") is None


@pytest.mark.parametrize(
    ("path", "slug"),
    [("switches/serach", "switch-not-found"), ("rooms/dorp", "room-not-found"), ("events/slae", "event-not-found")],
)
async def test_an_unknown_name_is_a_problem(console: Console, path: str, slug: str) -> None:
    told = await console.act(path)
    assert (told.status, told.body["type"]) == (404, f"/problems/{slug}")


@pytest.mark.parametrize("body", [{"admissions_per_s": -1}, {"admissions_per_s": 1e7}, {"rate": 1}, {"enabled": 1}])
async def test_a_malformed_setting_of_a_room_is_a_problem(console: Console, body: dict[str, Any]) -> None:
    assert (await console.act("rooms/drop", **body)).status == 422
    assert console.worker.told == []


# Reloads


async def test_a_reload_shows_its_differences_first(console: Console, file: Path) -> None:
    write(file, FILE.replace("admissions_per_s = 10", "admissions_per_s = 25"))
    preview = (await console.call("GET", "/admin/v1/reload/preview")).body
    assert preview["differences"] == [
        {"table": "rooms", "key": "rooms.drop.admissions_per_s", "before": "10.0", "after": "25.0"}
    ]
    assert console.worker.swaps == 0
    told = await console.act("reload", digest=preview["digest"])
    assert (told.status, told.body["changed"]) == (200, ["rooms"])


async def test_a_preview_of_an_invalid_file_has_its_errors(console: Console, file: Path) -> None:
    write(file, "room = 1")
    preview = (await console.call("GET", "/admin/v1/reload/preview")).body
    assert (preview["digest"], preview["differences"], len(preview["errors"])) == (None, [], 1)


async def test_a_file_that_changed_after_its_preview_is_not_reloaded(console: Console, file: Path) -> None:
    write(file, "")
    preview = (await console.call("GET", "/admin/v1/reload/preview")).body
    write(file, FILE.replace("10", "12"))
    refused = await console.act("reload", digest=preview["digest"])
    assert (refused.status, refused.body["type"]) == (409, "/problems/changed-meanwhile")
    assert console.worker.swaps == 0


async def test_a_reload_is_undone_by_the_policies_before_it(console: Console, file: Path) -> None:
    before = console.worker.digest
    write(file, "")
    told = await console.act("reload")
    assert [act["can_undo"] for act in await console.acts()] == [True]
    undone = await console.undo(told)
    assert (undone.status, undone.body["digest"], console.worker.digest) == (200, before, before)
    assert console.admin.status.reloader.preview().digest != before
    undo, act = await console.acts()
    assert (undo["undoes"], act["undone_by"], act["can_undo"]) == (act["id"], undo["id"], False)


async def test_a_reload_before_another_cannot_be_undone(console: Console, file: Path) -> None:
    write(file, "")
    first = await console.act("reload")
    write(file, FILE.replace("10", "12"))
    await console.act("reload")
    assert (await console.undo(first)).status == 409


# The log


@pytest.mark.parametrize("path", ["purge", "workers/replace"])
async def test_other_acts_are_recorded_and_cannot_be_undone(console: Console, path: str) -> None:
    await console.act(path, **({"tag": "sale"} if path == "purge" else {}))
    [act] = await console.acts()
    assert (act["act"], act["who"], act["can_undo"]) == (path, "admin token", False)
    refused = await console.act(f"acts/{act['id']}/undo")
    assert (refused.status, refused.body["type"]) == (422, "/problems/cannot-be-undone")


@pytest.mark.parametrize("act", ["7", "x", "1e3", "9" * 30])
async def test_an_unknown_act_cannot_be_undone(console: Console, act: str) -> None:
    assert (await console.act(f"acts/{act}/undo")).status == 404


async def test_the_log_has_pages(console: Console) -> None:
    for percent in range(5):
        await console.act("switches/search", percent=percent)
    first = (await console.call("GET", "/admin/v1/acts?limit=2")).body
    rest = (await console.call("GET", f"/admin/v1/acts?limit=9&cursor={first['next_cursor']}")).body
    assert [act["id"] for act in first["acts"]] == [5, 4]
    assert [act["id"] for act in rest["acts"]] == [3, 2, 1]
    assert rest["next_cursor"] is None
    assert (await console.call("GET", "/admin/v1/acts?cursor=x")).status == 422


async def test_acts_without_a_token_are_not_recorded(console: Console) -> None:
    await console.call("POST", "/admin/v1/reload", Authorization="Bearer wrong")
    assert await console.acts() == []


# Roles


async def test_a_viewer_reads_and_does_not_act(console: Console) -> None:
    viewer = {"Authorization": f"Bearer {VIEWER_TOKEN}"}
    for path in ("/", "/admin/v1/status", "/admin/v1/acts", "/admin/v1/reload/preview", "/metrics"):
        assert (await console.call("GET", path, **viewer)).status == 200
    for path, body, *_ in ACTS:
        refused = await console.call("POST", f"/admin/v1/{path}", body, **viewer)
        assert (refused.status, refused.body["type"]) == (403, "/problems/operator-required")
    for path in ("reload", "purge", "workers/replace", "acts/1/undo", "orders/search", "privacy/erase"):
        assert (await console.call("POST", f"/admin/v1/{path}", {}, **viewer)).status == 403
    assert console.worker.told == []
    assert {(act["who"], act["status"]) for act in await console.acts()} == {("viewer token", 403)}


async def test_a_viewer_sees_no_personal_data(console: Console) -> None:
    viewer = {"Authorization": f"Bearer {VIEWER_TOKEN}"}
    assert (await console.call("GET", "/admin/v1/orders/7KQ3M-XP4RT?personal=yes", **viewer)).status == 403


async def test_there_is_no_viewer_without_a_token(file: Path, workers: Workers, runtime: RuntimeDirectory) -> None:
    admin = admin_of(file, workers, runtime, replaced=[])
    async with TestClient(TestServer(admin.application())) as client:
        desk = Desk(client, [])
        assert (await desk.call("GET", "/admin/v1/status", Authorization="Bearer ")).status == 401
        assert (await desk.call("GET", "/admin/v1/status", Authorization=f"Bearer {TOKEN}")).status == 200
