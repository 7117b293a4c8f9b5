"""Kill switches: off, on, and on for a share of clients, by the file and by an operator."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import orjson
import pytest

from gateway.config.policies import Switch
from gateway.http.message import Handler, Request, Response
from gateway.pipeline.switch_board import LiveSwitch, SwitchBoard
from gateway.pipeline.switch_override import UnknownSwitch
from gateway.pipeline.switches import MAX_RETRY_S, MIN_RETRY_S, client_key, feature, switches

SERVED = Response(200, b"served")


def a_request(client: str = "192.0.2.1") -> Request:
    return Request("GET", "/v1/products", "", {}, b"", "0123abcd", (), client)


def served(_request: Request) -> Response:
    return SERVED


def search(**members: Any) -> Switch:
    return Switch(**{"name": "search", "routes": ("GET /v1/products",), **members})


def behind(board: SwitchBoard, *, chance: float = 0.0) -> Handler:
    return switches(board.of_route("GET", "/v1/products"), rng=lambda: chance)(served)


def response(handler: Handler, request: Request) -> Response:
    outcome = handler(request)
    assert isinstance(outcome, Response), "needs no coroutine"
    return outcome


def share_served(handler: Handler, clients: int = 2_000) -> float:
    return sum(response(handler, a_request(f"10.0.{n >> 8}.{n & 255}")) is SERVED for n in range(clients)) / clients


def test_a_route_without_a_switch_has_no_layer() -> None:
    board = SwitchBoard([search(routes=("POST /v1/checkout",)), Switch(name="feature")])
    assert behind(board) is served


def test_a_route_that_is_on_is_served() -> None:
    assert response(behind(SwitchBoard([search()])), a_request()) is SERVED


def test_a_route_that_is_off_is_rejected_with_503_disabled() -> None:
    refused = response(behind(SwitchBoard([search(enabled=False)])), a_request())
    assert refused.status == 503
    assert orjson.loads(refused.body)["type"] == "/problems/disabled"
    assert orjson.loads(refused.body)["instance"] == "0123abcd"


def test_clients_get_different_retry_times() -> None:
    off = SwitchBoard([search(enabled=False)])
    told = {response(behind(off, chance=chance), a_request()).header_block for chance in (0.0, 0.5, 1 - 2**-53)}
    assert told == {b"Retry-After: %d\r\n" % seconds for seconds in (MIN_RETRY_S, 45, MAX_RETRY_S)}


def test_a_percentage_admits_about_that_share_of_clients() -> None:
    assert share_served(behind(SwitchBoard([search(percent=25.0)]))) == pytest.approx(0.25, abs=0.05)
    assert share_served(behind(SwitchBoard([search(percent=0.0)]))) == 0


def test_a_client_gets_the_same_result_in_every_process() -> None:
    clients = [f"192.0.2.{n}" for n in range(100)]
    first, second = (behind(SwitchBoard([search(percent=50.0)])) for _ in range(2))
    assert [response(first, a_request(c)).status for c in clients] == [
        response(second, a_request(c)).status for c in clients
    ]


def test_a_client_is_admitted_from_the_bucket_of_its_hash_on() -> None:
    live = LiveSwitch(search(percent=50.0))
    bucket = int.from_bytes(blake2b(b"192.0.2.1", digest_size=4, key=b"search").digest(), "big")
    live.admitted_buckets = bucket
    assert not live.admits("192.0.2.1")
    live.admitted_buckets = bucket + 1
    assert live.admits("192.0.2.1")


def test_two_switches_admit_other_clients() -> None:
    board = SwitchBoard([search(percent=50.0), search(name="other", percent=50.0)])
    assert share_served(behind(board)) == pytest.approx(0.25, abs=0.05)


def test_a_share_is_counted_by_key_else_address() -> None:
    request = a_request()
    assert client_key(request) == "192.0.2.1"
    request.api_key = "partner"
    assert client_key(request) == "partner"


def test_a_client_gets_the_same_result_with_and_without_a_cached_token() -> None:
    request = a_request()
    before = client_key(request)
    request.shopper = "ada"
    assert client_key(request) == before


def test_a_feature_is_on_by_the_name_of_its_switch() -> None:
    board = SwitchBoard([Switch(name="hints", percent=50.0), Switch(name="reviews", enabled=False)])
    responses = {key: board.is_enabled("hints", key) for key in map(str, range(100))}
    assert set(responses.values()) == {True, False}
    assert responses == {key: board.is_enabled("hints", key) for key in responses}
    assert not board.is_enabled("reviews", "ada")
    assert board.is_enabled("never-heard-of", "ada")


def test_a_table_of_the_file_applies_to_existing_layers() -> None:
    board = SwitchBoard([search()])
    handler = behind(board)
    board.update([search(enabled=False)])
    assert response(handler, a_request()).status == 503


def test_an_override_applies_at_once_until_it_is_withdrawn() -> None:
    board = SwitchBoard([search()])
    handler = behind(board)
    board.override("search", enabled=False)
    assert response(handler, a_request()).status == 503
    board.override("search", percent=50.0)
    assert share_served(handler) == pytest.approx(0.5, abs=0.05)
    board.override("search")
    assert share_served(handler) == 1


def test_an_override_outlives_reloads_and_events() -> None:
    board = SwitchBoard([search()])
    handler = behind(board)
    board.override("search", enabled=False)
    board.update([search(percent=80.0), Switch(name="new")])
    assert response(handler, a_request()).status == 503
    assert board.snapshot()["search"]["override"] == {"enabled": False, "percent": None}
    board.update([])
    board.update([search()])
    assert board.snapshot()["search"]["override"] == {"enabled": None, "percent": None}


def test_an_unknown_switch_cannot_be_overridden() -> None:
    with pytest.raises(UnknownSwitch) as caught:
        SwitchBoard([search()]).override("serach", enabled=False)
    assert caught.value.name == "serach"


@pytest.mark.parametrize("percent", [-1.0, 100.5, float("nan")])
def test_an_invalid_percentage_is_an_error(percent: float) -> None:
    with pytest.raises(ValueError, match="0 to 100"):
        SwitchBoard([search()]).override("search", percent=percent)


def test_its_state_and_counts_outlive_a_reload() -> None:
    board = SwitchBoard([search(percent=75.0)])
    board.override("search", enabled=False)
    for _ in range(3):
        response(behind(board), a_request())
    board.update([search(percent=75.0)])
    assert board.snapshot() == {
        "search": {
            "enabled": False,
            "percent": 75.0,
            "configured": {"enabled": True, "percent": 75.0},
            "override": {"enabled": False, "percent": None},
            "routes": ["GET /v1/products"],
            "rejected": 3,
        }
    }
    open_ratio, rejected = board.metrics()
    assert [(sample.labels, sample.value) for sample in open_ratio.samples] == [({"switch": "search"}, 0.0)]
    assert [(sample.labels, sample.value) for sample in rejected.samples] == [({"switch": "search"}, 3)]


def packed(handler: Handler) -> Handler:
    return lambda _request: PACKED


PACKED = Response(200, b"packed")


@pytest.mark.parametrize(
    ("board", "answered"),
    [
        (SwitchBoard([]), PACKED),
        (SwitchBoard([Switch(name="compression")]), PACKED),
        (SwitchBoard([Switch(name="compression", enabled=False)]), SERVED),
    ],
)
def test_a_feature_that_is_off_leaves_its_layer_out(board: SwitchBoard, answered: Response) -> None:
    assert response(feature(board, "compression", packed)(served), a_request()) is answered


def test_an_override_turns_a_feature_off_at_once() -> None:
    board = SwitchBoard([Switch(name="compression")])
    handler = feature(board, "compression", packed)(served)
    board.override("compression", enabled=False)
    assert response(handler, a_request()) is SERVED
