from __future__ import annotations

from primitives.stream_limit import StreamLimit


def test_one_client_has_no_more_than_its_share() -> None:
    limit = StreamLimit(192, 32)
    assert sum(limit.try_enter("10.0.0.9") for _ in range(260)) == 32
    assert limit.try_enter("10.0.0.8")


def test_all_clients_together_have_no_more_than_all() -> None:
    limit = StreamLimit(192, 32)
    assert sum(limit.try_enter(f"10.0.0.{client}") for client in range(260)) == 192
    assert not limit.has_room("10.0.0.999")


def test_a_stream_that_leaves_makes_room() -> None:
    limit = StreamLimit(6, 1)
    assert [limit.try_enter("10.0.0.9") for _ in range(2)] == [True, False]
    limit.leave("10.0.0.9")
    assert limit.streams == 0
    assert limit.has_room("10.0.0.9")
    assert limit.try_enter("10.0.0.9")


def test_the_smallest_limit_serves_a_stream_and_a_larger_one_more() -> None:
    limit = StreamLimit(0, 0)
    assert limit.try_enter("10.0.0.9")
    limit.resize(24, 4)
    assert [limit.try_enter("10.0.0.9") for _ in range(4)] == [True, True, True, False]
