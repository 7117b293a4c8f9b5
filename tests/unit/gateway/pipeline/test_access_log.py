from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.http.endpoint import Endpoint
from gateway.http.message import Request, Response
from gateway.pipeline.access_log import AccessLog, Outcome, outcome_of

ALL: dict[Outcome, float] = {"ok": 1.0, "rejected": 1.0, "client_error": 1.0, "server_error": 1.0}
ENDPOINT = Endpoint("GET", "/v1/carts/{cart_id}", lambda _request: Response(200))
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def request() -> Request:
    made = Request("GET", "/v1/carts/secret", "q=x", {"User-Agent": "curl"}, b"abc", "id1", ("secret",), "192.0.2.7")
    made.shopper = "anna"
    return made


async def logged(
    tmp_path: Path, statuses: list[int], *, elapsed_s: float = 0.0, notes: bytes = b"", **options: Any
) -> list[dict[str, Any]]:
    path = tmp_path / "access.log"
    log = AccessLog(**{"sample_rates": ALL, "slow_s": 1.0, "file": str(path), "now": lambda: NOON, **options})
    for status in statuses:
        noted = request()
        noted.extra_headers = notes
        log(ENDPOINT, noted, Response(status, b"12345"), elapsed_s)
    await log.close()
    lines = path.read_text().splitlines()
    assert log.snapshot()["written"] == len(lines)
    return [json.loads(line) for line in lines]


async def test_a_line_has_the_facts_of_a_response(tmp_path: Path) -> None:
    [line] = await logged(tmp_path, [200], elapsed_s=0.0125)
    assert line.pop("process")
    assert line == {
        "time": "2026-11-27T12:00:00.000Z",
        "request_id": "id1",
        "method": "GET",
        "route": "/v1/carts/{cart_id}",
        "status": 200,
        "duration_ms": 12.5,
        "request_bytes": 3,
        "response_bytes": 5,
    }


async def test_personal_data_and_secret_paths_are_left_out_by_default(tmp_path: Path) -> None:
    [line] = await logged(tmp_path, [200])
    assert not {"address", "shopper", "path", "query", "user_agent"} & set(line)
    assert "secret" not in json.dumps(line)


async def test_personal_data_is_written_where_configured(tmp_path: Path) -> None:
    [line] = await logged(tmp_path, [200], personal_fields=("address", "shopper", "path", "query", "user_agent"))
    assert line["address"] == "192.0.2.7"
    assert line["shopper"] == "anna"
    assert line["path"] == "/v1/carts/secret"
    assert line["query"] == "q=x"
    assert line["user_agent"] == "curl"


async def test_samples_are_taken_evenly_by_outcome(tmp_path: Path) -> None:
    sample_rates: dict[Outcome, float] = {"ok": 0.1, "rejected": 0.0, "client_error": 0.3, "server_error": 1.0}
    lines = await logged(tmp_path, [200] * 100 + [503] * 100 + [404] * 10 + [500] * 3, sample_rates=sample_rates)
    found = [line["status"] for line in lines]
    assert {status: found.count(status) for status in set(found)} == {200: 10, 404: 3, 500: 3}


async def test_slow_responses_are_always_written(tmp_path: Path) -> None:
    assert len(await logged(tmp_path, [200] * 3, elapsed_s=1.0, sample_rates=dict.fromkeys(ALL, 0.0))) == 3


async def test_a_degraded_response_is_logged_with_its_parts(tmp_path: Path) -> None:
    [line] = await logged(tmp_path, [200], notes=b"Vary: Origin\r\nDegraded: prices\r\nDegraded: limits\r\n")
    assert line["degraded"] == ["prices", "limits"]


async def test_a_file_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        AccessLog(ALL, slow_s=1.0, file=str(tmp_path / "nowhere" / "log"))


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "ok"), (304, "ok"), (404, "client_error"), (429, "rejected"), (503, "rejected"), (500, "server_error")],
)
def test_each_status_has_an_outcome(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome
