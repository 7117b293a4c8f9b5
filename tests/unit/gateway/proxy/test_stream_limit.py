from __future__ import annotations

from gateway.proxy.stream_limit import StreamLimit


def test_one_client_has_an_eighth_of_the_connections() -> None:
    limit = StreamLimit(256)
    assert sum(limit.try_enter("10.0.0.9") for _ in range(260)) == 32
    assert limit.try_enter("10.0.0.8")


def test_all_streams_have_three_quarters_of_the_connections() -> None:
    limit = StreamLimit(256)
    assert sum(limit.try_enter(f"10.0.0.{client}") for client in range(260)) == 192


def test_a_stream_that_leaves_makes_room() -> None:
    limit = StreamLimit(8)
    assert [limit.try_enter("10.0.0.9") for _ in range(2)] == [True, False]
    limit.leave("10.0.0.9")
    assert limit.streams == 0
    assert limit.try_enter("10.0.0.9")


def test_a_pool_of_one_serves_a_stream_and_a_larger_pool_more() -> None:
    limit = StreamLimit(1)
    assert limit.try_enter("10.0.0.9")
    limit.resize(32)
    assert [limit.try_enter("10.0.0.9") for _ in range(4)] == [True, True, True, False]
