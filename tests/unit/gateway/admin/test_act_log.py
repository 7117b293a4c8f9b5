"""Every act of an operator is a line: who, what, and the result."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from gateway.admin.workers import Workers
from gateway.control.runtime_directory import RuntimeDirectory
from gateway.log_format import JsonLines
from tests.unit.gateway.admin.small_workers import Fleet, write
from tests.unit.gateway.admin.test_admin import Desk, admin_of

SWITCH = '[[switches]]\nname = "search"\n'
CARD = "4111111111111111"


@pytest.fixture
async def desk(
    file: Path, workers: Workers, runtime: RuntimeDirectory, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Desk]:
    caplog.set_level(logging.INFO, "peakgate")
    await fleet.start("0a")
    admin = admin_of(file, workers, runtime, replaced=[])
    async with TestClient(TestServer(admin.application())) as client:
        yield Desk(client, [])


def acts(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """The lines of acts, as JSON."""
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    return [line for line in lines if "act" in line]


async def test_a_purge_is_logged_with_its_arguments_and_its_result(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await desk.call("POST", "/admin/v1/purge", {"prefix": "/shop/"})).status == 200
    [line] = acts(caplog)
    assert (line["act"], line["operator"], line["address"], line["status"]) == (
        "purge",
        "admin token",
        "127.0.0.1",
        200,
    )
    assert json.loads(str(line["arguments"]))["prefix"] == "/shop/"
    assert json.loads(str(line["result"])) == {"purged": 3}
    assert "purge" in str(line["message"])


async def test_a_reload_is_logged_with_the_tables_that_changed(
    desk: Desk, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(file, SWITCH)
    assert (await desk.call("POST", "/admin/v1/reload")).body["changed"] == ["switches"]
    [line] = acts(caplog)
    assert json.loads(str(line["result"])) == {"outcome": "applied", "changed": ["switches"]}
    assert any("changed: switches" in record.getMessage() for record in caplog.records)


async def test_a_rejected_act_is_logged_with_its_problem(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await desk.call("POST", "/admin/v1/switches/none", {"enabled": False})
    await desk.call("POST", "/admin/v1/workers/replace")
    rejected, replaced = acts(caplog)
    assert (rejected["act"], rejected["status"], rejected["level"]) == ("switches/none", 404, "warning")
    assert json.loads(str(rejected["result"]))["type"] == "/problems/switch-not-found"
    assert (replaced["act"], replaced["status"], replaced["level"]) == ("workers/replace", 202, "info")


async def test_acts_without_the_token_are_counted_in_one_line(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        assert (await desk.call("POST", "/admin/v1/reload", Authorization="Bearer wrong")).status == 401
    [line] = acts(caplog)
    assert (line["operator"], line["status"]) == (None, 401)


async def test_reading_is_not_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/", "/metrics", "/admin/v1/status"):
        assert (await desk.call("GET", path)).status == 200
    assert not acts(caplog)


async def test_what_an_act_names_cannot_break_its_line(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await desk.call("POST", "/admin/v1/purge", {"url": f"/shop/\n{CARD}"})
    [line] = acts(caplog)
    assert CARD not in json.dumps(line)
    assert "\n" not in str(line["message"])
