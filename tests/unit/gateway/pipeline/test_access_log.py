from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.http import problems
from gateway.http.endpoint import Endpoint
from gateway.http.message import PROBLEM_JSON, Request, Response
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


# Where a response comes from


async def line_of(
    tmp_path: Path, response: Response, *, headers: dict[str, str] | None = None, **changes: Any
) -> dict[str, Any]:
    path = tmp_path / "one.log"
    log = AccessLog(ALL, slow_s=1.0, file=str(path), now=lambda: NOON)
    asked = Request("GET", "/x", "", headers or {}, b"", "id1", (), "192.0.2.7")
    for name, value in changes.items():
        setattr(asked, name, value)
    log(ENDPOINT, asked, response, 0.0)
    await log.close()
    line: dict[str, Any] = json.loads(path.read_bytes())
    return line


async def test_a_line_names_the_host(tmp_path: Path) -> None:
    assert (await line_of(tmp_path, Response(200), headers={"Host": "shop.example"}))["host"] == "shop.example"


async def test_a_line_names_the_problem_as_json_or_as_a_page(tmp_path: Path) -> None:
    refused = problems.response(problems.OVERLOADED, "id1")
    assert (await line_of(tmp_path, refused))["problem"] == "/problems/overloaded"
    (tmp_path / "one.log").unlink()
    rendered = Response(429, b'{"type":"/problems/quota-exceeded","title":"x"}', content_type=PROBLEM_JSON)
    assert (await line_of(tmp_path, rendered))["problem"] == "/problems/quota-exceeded"
    (tmp_path / "one.log").unlink()
    foreign = Response(400, b'{"type":"https://example.com/x"}', content_type=PROBLEM_JSON)
    assert "problem" not in await line_of(tmp_path, foreign)


async def test_a_line_names_the_upstream_and_its_time(tmp_path: Path) -> None:
    line = await line_of(tmp_path, Response(200), upstream_call=("pages", 0.0123))
    assert (line["upstream"], line["upstream_ms"]) == ("pages", 12.3)


@pytest.mark.parametrize(
    ("header_block", "extra", "cache"),
    [
        (b"Age: 3\r\nCache-Status: peakgate; hit; ttl=57\r\n", b"", "hit; ttl=57"),
        (
            b"",
            b"Vary: X\r\nCache-Status: peakgate; fwd=uri-miss; fwd-status=200; stored\r\n",
            "fwd=uri-miss; fwd-status=200; stored",
        ),
        (b"Cache-Status: cdn; hit, peakgate; fwd=bypass\r\n", b"", "fwd=bypass"),
        (b"Cache-Status: cdn; hit\r\n", b"", None),
    ],
)
async def test_a_line_has_the_status_of_the_cache(
    tmp_path: Path, header_block: bytes, extra: bytes, cache: str | None
) -> None:
    line = await line_of(tmp_path, Response(200, header_block=header_block), extra_headers=extra)
    assert line.get("cache") == cache


# Text of clients

CARD = "4111111111111111"


@pytest.mark.parametrize("where", ["method", "path", "query", "id", "shopper", "client", "User-Agent", "Host"])
@pytest.mark.parametrize("card", [CARD, "4111%201111%201111%201111", "4111-1111-1111-1111", f"%34{CARD[1:]}"])
async def test_no_line_holds_a_card_number(tmp_path: Path, where: str, card: str) -> None:
    path = tmp_path / "access.log"
    everything = ("address", "path", "query", "shopper", "user_agent")
    log = AccessLog(ALL, slow_s=1.0, file=str(path), personal_fields=everything)
    asked = request()
    if where in {"User-Agent", "Host"}:
        asked = asked.with_headers({where: f"x {card}"})
    else:
        setattr(asked, where, f"x{card}")
    log(ENDPOINT, asked, Response(200), 0.0)
    await log.close()
    assert card not in path.read_text()
    assert "[card number]" in path.read_text()


async def test_text_of_clients_stays_inside_its_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(ALL, slow_s=1.0, file=str(path), personal_fields=("path", "query", "user_agent"))
    for text in ("a\n{}", "\x85\u2028", b"\xf8\xff".decode("utf-8", "surrogateescape"), "\ud800", "東" * 5000):
        asked = Request(text, text, text, {"User-Agent": text, "Host": text}, b"", text, (), text)
        log(ENDPOINT, asked, Response(200), 0.0)
    await log.close()
    lines = path.read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == [200] * 5
    assert max(len(line.encode()) for line in lines) < 4096


# The page of the documentation

DOCS = Path(__file__).parents[4] / "docs" / "logs.md"


async def test_the_page_about_logs_has_every_member_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    everything = ("address", "path", "query", "shopper", "user_agent")
    log = AccessLog(ALL, slow_s=1.0, file=str(path), personal_fields=everything)
    asked = request().with_headers({"Host": "shop.example", "User-Agent": "curl"})
    asked.api_key, asked.upstream_call = "partner", ("pages", 0.1)
    asked.extra_headers = b"Degraded: prices\r\nCache-Status: peakgate; hit\r\n"
    log(ENDPOINT, asked, problems.response(problems.OVERLOADED, "id1"), 0.0)
    await log.close()
    section = DOCS.read_text().partition("## The access log")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert documented == list(json.loads(path.read_bytes()))
