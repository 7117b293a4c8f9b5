from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine, Sequence
from typing import Any

import orjson
import pytest

from gateway.config.policies import Limit
from gateway.http import problems
from gateway.http.message import Handler, Request, Response, header, resolve
from gateway.ratelimit.batch import Batch, Group
from gateway.ratelimit.batch_sender import TIMEOUT_S, WATCH_S
from gateway.ratelimit.outage import MAX_PROBE_S
from gateway.ratelimit.rate_limit import rate_limit
from gateway.ratelimit.redis_quota import PARTITIONS, RedisQuota
from tests.unit.gateway.ratelimit.quota_store import QuotaStore
from tests.virtual_time import VirtualTimeLoop, in_virtual_time, loop_time

BY_ADDRESS = Limit(name="per-address", by="address", quota=3, window_s=60.0)
BY_SHOPPER = Limit(name="per-shopper", by="shopper", quota=2, window_s=60.0)
ALL = Limit(name="all", by="global", quota=5, window_s=60.0)
NOW = 1_763_723_561.0


@pytest.fixture(autouse=True, params=[1, PARTITIONS], ids=["one slot", "partitions"])
def partitions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Each test is run on one server, and on a cluster."""
    monkeypatch.setattr(Edge, "partitions", request.param)
    return int(request.param)


class Edge:
    """A handler behind limits, on a store that the test may stop."""

    partitions = 1

    def __init__(self, *limits: Limit, share: float = 1.0) -> None:
        self.store = QuotaStore(loop_time)
        self.quota = RedisQuota(self.store, share=share, partitions=self.partitions, clock=loop_time, rng=lambda: 0.5)
        self.marked: list[str] = []
        self.served: list[Request] = []
        self.handler = self.behind(*limits)

    def behind(
        self, *limits: Limit, route: str = "GET /x", handler: Handler | None = None, is_read: bool = False
    ) -> Handler:
        """The same handler, or another, behind other limits, or on another route."""
        layer = rate_limit(limits, self.quota, route=route, mark=self._mark, now=lambda: NOW, is_read=is_read)
        return layer(handler or self._serve)

    async def get(self, **facts: str) -> Response:
        """The response to one request."""
        return (await self.get_many(1, **facts))[0]

    async def get_many(self, count: int, **facts: str) -> list[Response]:
        """The responses to requests of the same tick, with their extra headers."""
        requests = [request(**facts) for _ in range(count)]
        responses = await together([self.handler(each) for each in requests])
        return [sent(response, each) for response, each in zip(responses, requests, strict=True)]

    def _serve(self, request: Request) -> Response:
        self.served.append(request)
        return Response(200)

    def _mark(self, request: Request, what: str) -> None:
        self.marked.append(what)
        request.extra_headers += header("Degraded", what)


async def together(outcomes: Sequence[Response | Coroutine[Any, Any, Response]]) -> list[Response]:
    return list(await asyncio.gather(*(resolve(outcome) for outcome in outcomes)))


def request(*, client: str = "192.0.2.1", api_key: str | None = None, shopper: str | None = None) -> Request:
    made = Request("GET", "/x", "", {}, b"", "id-1", ())
    made.client, made.api_key, made.shopper = client, api_key, shopper
    return made


def sent(response: Response, request: Request) -> Response:
    """The response with the extra headers that the server adds."""
    return Response(
        response.status,
        response.body,
        header_block=response.header_block + request.extra_headers,
        content_type=response.content_type,
    )


def statuses(responses: Sequence[Response]) -> list[int]:
    return [response.status for response in responses]


def lines(response: Response) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in response.header_block.decode().split("\r\n")[:-1])


@in_virtual_time
async def test_a_client_within_the_quota_passes_and_gets_the_remaining_units() -> None:
    edge = Edge(BY_ADDRESS)
    assert lines(await edge.get()) == {
        "RateLimit-Policy": '"per-address";q=3;w=60',
        "RateLimit": '"per-address";r=2;t=20',
    }


@in_virtual_time
async def test_a_client_over_the_quota_is_rejected_with_the_problem_of_the_draft() -> None:
    edge = Edge(BY_ADDRESS)
    rejected = (await edge.get_many(4))[-1]
    assert rejected.status == 429
    assert rejected.content_type == b"application/problem+json"
    expected = problems.response(problems.QUOTA_EXCEEDED, "id-1", {"violated-policies": ["per-address"]})
    assert orjson.loads(rejected.body) == orjson.loads(expected.body)
    found = lines(rejected)
    assert found["RateLimit-Policy"] == '"per-address";q=3;w=60'
    assert found["RateLimit"] == '"per-address";r=0;t=20'
    assert 20 <= int(found["Retry-After"]) <= 50
    assert len(edge.served) == 3


@in_virtual_time
async def test_requests_of_a_tick_are_one_call_and_pass_in_order_of_arrival() -> None:
    edge = Edge(BY_ADDRESS)
    responses = await together(
        [edge.handler(request(client=client)) for client in ("a", "b", "a", "a", "b", "a", "b", "b")]
    )
    assert statuses(responses) == [200, 200, 200, 200, 200, 429, 200, 429]
    assert len(edge.store.calls) == 1


@in_virtual_time
async def test_a_key_in_the_store_does_not_identify_the_client() -> None:
    edge = Edge(BY_ADDRESS, BY_SHOPPER, ALL)
    await edge.get(client="198.51.100.77", shopper="anna")
    (keys, _), *_ = edge.store.calls
    assert not any(b"198.51" in key or b"anna" in key for key in keys)
    assert all(key.startswith((b"{rl}:", b"{rl:")) for key in keys)


@in_virtual_time
async def test_a_rejection_by_one_limit_takes_nothing_from_another() -> None:
    edge = Edge(BY_ADDRESS, ALL)
    assert statuses(await edge.get_many(10)) == [200] * 3 + [429] * 7
    # The seven rejected have left the quota of all as it was.
    others = await edge.get_many(3, client="192.0.2.2")
    assert statuses(others) == [200, 200, 429]
    assert lines(others[0])["RateLimit"] == '"per-address";r=1;t=20, "all";r=0;t=12'
    assert orjson.loads(others[2].body)["violated-policies"] == ["all"]


@in_virtual_time
async def test_requests_that_share_a_limit_take_units_in_order_of_arrival() -> None:
    edge = Edge(BY_ADDRESS, ALL)
    clients = ["a", "b", "a", "b", "c", "a", "c", "c"]
    responses = await together([edge.handler(request(client=client)) for client in clients])
    assert statuses(responses) == [200] * 5 + [429] * 3


@in_virtual_time
async def test_a_limit_does_not_apply_to_requests_without_its_key() -> None:
    edge = Edge(BY_SHOPPER)
    anonymous = await edge.get_many(5)
    assert statuses(anonymous) == [200] * 5
    assert not edge.store.calls
    assert lines(anonymous[0]) == {}
    assert statuses(await edge.get_many(3, shopper="anna")) == [200, 200, 429]


@in_virtual_time
async def test_routes_have_a_quota_each_where_a_limit_counts_by_route() -> None:
    edge = Edge()
    by_route = Limit(name="per-route", by="route", quota=2, window_s=60.0)
    handlers = [edge.behind(by_route, route=route) for route in ("GET /a", "GET /b")]
    for handler in handlers:
        assert statuses(await together([handler(request()) for _ in range(3)])) == [200, 200, 429]


@in_virtual_time
async def test_routes_share_the_quota_of_a_client() -> None:
    edge = Edge()
    one, other = (edge.behind(BY_ADDRESS, route=route) for route in ("GET /a", "GET /b"))
    assert statuses(await together([one(request()), other(request()), one(request()), other(request())])) == [
        200,
        200,
        200,
        429,
    ]
    assert len(edge.store.calls) == 1


@pytest.mark.parametrize("mode", ["replies", "fails"])
@in_virtual_time
async def test_routes_share_a_global_quota(mode: str) -> None:
    edge = Edge()
    edge.store.mode = mode
    one, other = (edge.behind(ALL, route=route) for route in ("GET /a", "GET /b"))
    responses = await together([handler(request()) for _ in range(5) for handler in (one, other)])
    assert statuses(responses) == [200] * 5 + [429] * 5


@in_virtual_time
async def test_a_client_of_any_name_has_a_quota() -> None:
    edge = Edge(BY_SHOPPER)
    assert statuses(await edge.get_many(3, shopper="\ud800 O'Brien\r\n")) == [200, 200, 429]


@in_virtual_time
async def test_a_spent_client_is_rejected_without_a_call_until_there_may_be_a_unit() -> None:
    edge = Edge(BY_ADDRESS)
    await edge.get_many(4)
    asked = request()
    rejected = edge.handler(asked)
    assert isinstance(rejected, Response)
    assert rejected.status == 429
    assert lines(sent(rejected, asked))["RateLimit"] == '"per-address";r=0;t=20'
    await asyncio.sleep(19.5)
    assert (await edge.get()).status == 429
    assert len(edge.store.calls) == 1
    await asyncio.sleep(0.5)
    assert (await edge.get()).status == 200
    assert len(edge.store.calls) == 2


@in_virtual_time
async def test_retry_after_is_spread_over_clients_and_stable_for_each() -> None:
    edge = Edge(Limit(name="all", by="global", quota=1, window_s=60.0))
    await edge.get()
    waits = {f"192.0.2.{n}": lines(await edge.get(client=f"192.0.2.{n}"))["Retry-After"] for n in range(100)}
    assert all(60 <= int(wait) <= 90 for wait in waits.values())
    assert len(set(waits.values())) > 20
    again = {client: lines(await edge.get(client=client))["Retry-After"] for client in waits}
    assert again == waits


@in_virtual_time
async def test_a_shadow_limit_counts_but_neither_rejects_nor_is_in_the_fields() -> None:
    shadow = Limit(name="tighter", by="address", quota=1, window_s=60.0, shadow=True)
    edge = Edge(BY_ADDRESS, shadow)
    responses = await edge.get_many(4)
    assert statuses(responses) == [200, 200, 200, 429]
    assert "tighter" not in str([lines(response) for response in responses])
    assert orjson.loads(responses[3].body)["violated-policies"] == ["per-address"]
    assert edge.quota.snapshot()["limits"] == {
        "per-address": {"granted": 3, "rejected": 1, "rejected_from_cache": 0},
        "tighter": {"granted": 1, "rejected": 2, "rejected_from_cache": 0},
    }


@in_virtual_time
async def test_two_limiters_share_one_field() -> None:
    edge = Edge(BY_SHOPPER)
    by_address = rate_limit([BY_ADDRESS], edge.quota, route="GET /x", mark=edge._mark)
    edge.handler = by_address(edge.handler)
    passing, rejected = await edge.get(shopper="anna"), (await edge.get_many(2, shopper="anna"))[1]
    assert lines(passing) == {
        "RateLimit-Policy": '"per-address";q=3;w=60, "per-shopper";q=2;w=60',
        "RateLimit": '"per-address";r=2;t=20, "per-shopper";r=1;t=30',
    }
    assert rejected.status == 429
    assert lines(rejected)["RateLimit"] == '"per-address";r=0;t=20, "per-shopper";r=0;t=30'
    assert rejected.header_block.count(b"RateLimit-Policy: ") == rejected.header_block.count(b"RateLimit: ") == 1


@in_virtual_time
async def test_a_client_with_shadow_limits_only_gets_no_fields() -> None:
    edge = Edge(BY_SHOPPER, Limit(name="tighter", by="address", quota=1, window_s=60.0, shadow=True))
    assert [(response.status, lines(response)) for response in await edge.get_many(2)] == [(200, {})] * 2


@in_virtual_time
async def test_nothing_waits_for_shadows_alone() -> None:
    edge = Edge(Limit(name="tighter", by="address", quota=1, window_s=60.0, shadow=True))
    edge.store.mode = "hangs"
    outcomes = [edge.handler(request()) for _ in range(3)]
    assert all(isinstance(outcome, Response) and not outcome.header_block for outcome in outcomes)
    await asyncio.sleep(0)
    assert len(edge.store.calls) == 1


@in_virtual_time
async def test_no_limits_cost_nothing() -> None:
    edge = Edge()
    assert rate_limit([], edge.quota, route="GET /x", mark=edge._mark)(edge._serve) == edge._serve


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (Limit(name="a", by="global", quota=50), '"a";q=50;w=1'),
        (Limit(name="a", by="global", quota=50, window_s=0.5), '"a";q=100;w=1'),
        (Limit(name="a", by="global", quota=9, window_s=1.5), '"a";q=12;w=2'),
        (Limit(name="a", by="global", quota=50, burst=100), '"a";q=50;w=1;peakgate-burst=100'),
    ],
)
@in_virtual_time
async def test_the_policy_has_whole_seconds(limit: Limit, told: str) -> None:
    assert lines(await Edge(limit).get())["RateLimit-Policy"] == told


# Without the store


@pytest.mark.parametrize("mode", ["fails", "hangs"])
@in_virtual_time
async def test_without_the_store_the_share_of_this_process_applies_and_is_in_the_fields(mode: str) -> None:
    edge = Edge(Limit(name="per-address", by="address", quota=8, window_s=60.0), share=0.25)
    edge.store.mode = mode
    began = loop_time()
    responses = await edge.get_many(3)
    assert loop_time() - began <= TIMEOUT_S + 2 * WATCH_S < 0.05
    assert statuses(responses) == [200, 200, 429]
    assert [lines(response)["RateLimit"] for response in responses] == ['"per-address";r=0;t=30'] * 3
    assert edge.marked == ["limits"] * 3
    assert lines(responses[0])["Degraded"] == "limits"


@in_virtual_time
async def test_after_the_first_failure_no_request_waits_for_the_store() -> None:
    edge = Edge(BY_ADDRESS)
    edge.store.mode = "hangs"
    await edge.get()
    asked = request()
    outcome = edge.handler(asked)
    assert isinstance(outcome, Response)
    assert lines(sent(outcome, asked))["RateLimit"] == '"per-address";r=1;t=20'
    rejected = [edge.handler(request()) for _ in range(2)][1]
    assert isinstance(rejected, Response)
    assert rejected.status == 429


@in_virtual_time
async def test_a_successful_probe_ends_the_outage() -> None:
    edge = Edge(BY_ADDRESS)
    edge.store.mode = "fails"
    await edge.get()
    assert edge.quota.snapshot()["local_because"] == "it was killed"
    # Probes fail as long as it does.
    await asyncio.sleep(3 * MAX_PROBE_S)
    assert edge.quota.snapshot()["local_for_s"] is not None
    edge.store.mode = "replies"
    await asyncio.sleep(MAX_PROBE_S)
    assert edge.quota.snapshot()["local_for_s"] is None
    edge.marked.clear()
    assert statuses(await edge.get_many(4)) == [200, 200, 200, 429]
    assert not edge.marked


@in_virtual_time
async def test_a_late_reply_does_not_end_the_outage() -> None:
    edge = Edge(BY_ADDRESS)
    edge.store.mode = "hangs"
    await edge.get()
    for _ in range(3):
        await asyncio.sleep(MAX_PROBE_S)
        edge.store.reply_late()
        await asyncio.sleep(0)
        assert edge.quota.snapshot()["local_for_s"] is not None


@in_virtual_time
async def test_a_late_reply_is_dropped() -> None:
    edge = Edge(BY_ADDRESS)
    edge.store.mode = "hangs"
    assert statuses(await edge.get_many(4)) == [200, 200, 200, 429]
    edge.store.reply_late()
    await asyncio.sleep(0)
    assert len(edge.served) == 3
    assert edge.quota.snapshot()["limits"]["per-address"]["granted"] == 3


@in_virtual_time
async def test_replies_that_came_while_this_process_was_busy_are_read_first() -> None:
    edge = Edge(BY_ADDRESS)
    edge.store.mode = "hangs"
    waiting = asyncio.ensure_future(edge.get())
    await asyncio.sleep(0.001)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop._jumping.waited_s += 1.0
    # The timer runs first, then the socket is read.
    for _ in range(3):
        await asyncio.sleep(0)
    edge.store.reply_late()
    assert (await waiting).status == 200
    assert not edge.marked


@in_virtual_time
async def test_a_failing_batch_does_not_delay_the_others() -> None:
    edge = Edge(BY_ADDRESS)
    first = asyncio.ensure_future(resolve(edge.handler(request())))
    await asyncio.sleep(0)
    edge.store.mode = "hangs"
    second = asyncio.ensure_future(resolve(edge.handler(request(client="192.0.2.2"))))
    assert statuses(await asyncio.gather(first, second)) == [200, 200]
    assert edge.marked == ["limits"]


@in_virtual_time
async def test_shadows_and_several_limits_apply_locally_too() -> None:
    shadow = Limit(name="tighter", by="address", quota=1, window_s=60.0, shadow=True)
    edge = Edge(BY_ADDRESS, ALL, shadow)
    edge.store.mode = "fails"
    assert statuses(await edge.get_many(4)) == [200, 200, 200, 429]
    assert statuses(await edge.get_many(3, client="192.0.2.2")) == [200, 200, 429]
    assert {name: counts["granted"] for name, counts in edge.quota.snapshot()["limits"].items()} == {
        "per-address": 5,
        "all": 5,
        "tighter": 2,
    }


# Waiting requests


@in_virtual_time
async def test_a_request_that_is_cancelled_leaves_the_others_waiting() -> None:
    edge = Edge(BY_ADDRESS)
    edge.store.mode = "hangs"
    tasks = [asyncio.ensure_future(resolve(edge.handler(request()))) for _ in range(3)]
    await asyncio.sleep(0.001)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [each.status for each in results[1:] if isinstance(each, Response)] == [200, 200]


@in_virtual_time
async def test_a_request_without_a_task_goes_on_when_its_batch_is_decided() -> None:
    edge = Edge(BY_ADDRESS)
    finished: list[Response] = []

    def step(coroutine: Coroutine[Any, Any, Response]) -> None:
        try:
            waits_for = coroutine.send(None)
        except StopIteration as end:
            finished.append(end.value)
        else:
            waits_for.add_done_callback(lambda _: step(coroutine))

    for _ in range(4):
        outcome = edge.handler(request())
        assert not isinstance(outcome, Response)
        step(outcome)
    await asyncio.sleep(0.001)
    assert statuses(finished) == [200, 200, 200, 429]


@in_virtual_time
async def test_an_error_in_one_request_does_not_stop_the_others() -> None:
    edge = Edge(BY_ADDRESS)
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    outcome = edge.handler(request())
    assert not isinstance(outcome, Response)

    def fail(_: object) -> None:
        raise ValueError("a fault of ours")

    outcome.send(None).add_done_callback(fail)
    assert (await edge.get()).status == 200
    outcome.close()
    assert len(faults) == 1


@in_virtual_time
async def test_closing_decides_waiting_requests_and_stops_probes() -> None:
    edge = Edge(BY_ADDRESS)
    edge.store.mode = "hangs"
    waiting = [asyncio.ensure_future(resolve(edge.handler(request())))]
    await asyncio.sleep(0.001)
    waiting.append(asyncio.ensure_future(resolve(edge.handler(request()))))
    await asyncio.sleep(0)
    await edge.quota.close()
    assert statuses(await asyncio.gather(*waiting)) == [200, 200]
    calls = len(edge.store.calls)
    await asyncio.sleep(10)
    assert len(edge.store.calls) == calls
    assert (await edge.get()).status == 200


@in_virtual_time
async def test_more_clients_than_one_call_takes_are_several_calls(partitions: int) -> None:
    edge = Edge(BY_ADDRESS)
    outcomes = [edge.handler(request(client=f"client-{n % 2_500}")) for n in range(5_000)]
    assert statuses(await together(outcomes)) == [200] * 5_000
    assert len(edge.store.calls) == 5 * partitions


@in_virtual_time
async def test_on_a_cluster_clients_are_spread_over_slots_and_a_tick_is_a_few_calls(partitions: int) -> None:
    edge = Edge(BY_ADDRESS, BY_SHOPPER, ALL)
    clients = [request(client=f"client-{n}", shopper=f"shopper-{n}") for n in range(100)]
    await together([edge.handler(each) for each in clients])
    tags = [{key.partition(b"}")[0] for key in keys} for keys, _ in edge.store.calls[:partitions]]
    assert [len(each) for each in tags] == [1] * partitions
    assert len(set.union(*tags)) == partitions
    # The units that one partition granted and another refused are given back, by one call for each of them.
    assert len(edge.store.calls) <= 2 * partitions


@in_virtual_time
async def test_the_limits_of_a_client_by_one_attribute_are_one_call(partitions: int) -> None:
    edge = Edge(BY_ADDRESS, Limit(name="burst", by="address", quota=2))
    for number in range(2 * partitions):
        await edge.get(client=f"client-{number}")
    assert len(edge.store.calls) == 2 * partitions


@in_virtual_time
async def test_what_another_limit_refuses_is_given_back_whatever_their_partitions() -> None:
    edge = Edge(Limit(name="per-address", by="address", quota=100, window_s=3600.0), BY_SHOPPER)
    clients = [{"client": f"client-{number}", "shopper": f"shopper-{number}"} for number in range(20)]
    for facts in clients:
        assert [each.status for each in await edge.get_many(50, **facts)].count(200) == 2
    for facts in clients:
        left = lines(await edge.get(client=facts["client"], shopper=facts["client"]))["RateLimit"]
        assert left.startswith('"per-address";r=97;')


@in_virtual_time
async def test_a_part_without_a_reply_is_decided_with_the_others_by_this_process(partitions: int) -> None:
    edge = Edge(BY_ADDRESS, BY_SHOPPER, ALL, share=0.5)
    run, calls = edge.store.run, 0

    def losing(*call: Any) -> asyncio.Future[Any]:
        nonlocal calls
        calls += 1
        edge.store.mode = "fails" if calls == partitions else "replies"
        return run(*call)

    edge.store.run = losing  # type: ignore[method-assign, assignment]
    clients = [request(client=f"client-{n}", shopper=f"shopper-{n}") for n in range(100)]
    responses = await together([edge.handler(each) for each in clients])
    # Half of the quota of all, decided once.
    assert statuses(responses).count(200) == 2
    assert len(edge.marked) == 100


@pytest.mark.parametrize("mode", ["replies", "fails", "hangs"])
@in_virtual_time
async def test_requests_leave_nothing_to_the_garbage_collector(mode: str) -> None:
    edge = Edge(BY_ADDRESS, ALL)
    edge.store.mode = mode
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await edge.get_many(4)
        gc.collect()
        left = [each for each in gc.garbage if isinstance(each, (Group, Batch))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert not left


# Reload


@in_virtual_time
async def test_an_unchanged_limit_keeps_its_counts_and_clients() -> None:
    edge = Edge(BY_ADDRESS)
    await edge.get_many(4)
    edge.quota.update([BY_ADDRESS, ALL])
    handler = edge.behind(BY_ADDRESS, ALL)
    # Still cached: the store is not called.
    assert isinstance(handler(request()), Response)
    assert edge.quota.snapshot()["limits"]["per-address"]["rejected"] == 2


@in_virtual_time
async def test_a_raised_limit_admits_its_clients_at_once() -> None:
    edge = Edge(BY_ADDRESS)
    await edge.get_many(4)
    raised = Limit(name="per-address", by="address", quota=6, window_s=60.0)
    edge.quota.update([raised])
    edge.handler = edge.behind(raised)
    assert statuses(await edge.get_many(4)) == [200, 200, 200, 429]


@in_virtual_time
async def test_a_limit_that_is_gone_is_forgotten() -> None:
    edge = Edge(BY_ADDRESS, ALL)
    await edge.get()
    edge.quota.update([ALL])
    assert list(edge.quota.snapshot()["limits"]) == ["all"]


@in_virtual_time
async def test_the_least_recent_clients_are_evicted() -> None:
    store = QuotaStore(loop_time)
    quota = RedisQuota(store, share=1.0, max_clients=10, clock=loop_time)
    handler = rate_limit([BY_ADDRESS], quota, route="GET /x", mark=lambda _request, _what: None)(
        lambda _request: Response(200)
    )
    for n in range(100):
        await resolve(handler(request(client=f"client-{n % 15}-{n // 15}")))
    (rule,) = quota._rules.values()
    assert len(rule.allowances) <= 20


# What can be seen


@in_virtual_time
async def test_decisions_batches_and_the_local_mode_are_counted() -> None:
    edge = Edge(BY_ADDRESS, Limit(name="tighter", by="address", quota=1, window_s=60.0, shadow=True))
    await edge.get_many(4)
    await edge.get()
    samples = {
        (metric.name, *sample.labels.values()): sample.value
        for metric in edge.quota.metrics()
        for sample in metric.samples
    }
    assert samples == {
        ("peakgate_limit_decisions_total", "per-address", "granted"): 3,
        ("peakgate_limit_decisions_total", "per-address", "rejected"): 2,
        ("peakgate_limit_decisions_total", "tighter", "granted"): 1,
        ("peakgate_limit_decisions_total", "tighter", "shadow-rejected"): 2,
        ("peakgate_limit_rejected_from_cache_total", "per-address"): 1,
        ("peakgate_limit_rejected_from_cache_total", "tighter"): 0,
        ("peakgate_limit_batches_total",): 1,
        ("peakgate_limit_requests_total",): 4,
        ("peakgate_limit_local",): 0,
    }
    snapshot = edge.quota.snapshot()
    assert orjson.loads(orjson.dumps(snapshot)) == snapshot
    assert snapshot["requests_per_batch"] == 4.0
    assert snapshot["shadows"] == ["tighter"]


class Reader:
    """A handler that waits for a future before it responds, as a read of the store does."""

    def __init__(self) -> None:
        self.replies: list[asyncio.Future[Response]] = []
        self.abandoned = 0

    def __call__(self, request: Request) -> Coroutine[Any, Any, Response]:
        return self._read(request)

    async def _read(self, request: Request) -> Response:
        request.extra_headers += b"Degraded: prices\r\n"
        reply: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.replies.append(reply)
        try:
            return await reply
        except GeneratorExit:
            self.abandoned += 1
            raise


@in_virtual_time
async def test_a_read_begins_before_its_limits_are_decided() -> None:
    edge, reader = Edge(BY_ADDRESS), Reader()
    edge.store.mode = "hangs"
    response = asyncio.ensure_future(resolve(edge.behind(BY_ADDRESS, handler=reader, is_read=True)(request())))
    await asyncio.sleep(0)
    assert len(reader.replies) == 1
    assert not response.done()
    reader.replies[0].set_result(Response(200, b"read"))
    assert (await response).body == b"read"


@in_virtual_time
async def test_a_read_whose_reply_is_late_is_awaited() -> None:
    edge, reader = Edge(BY_ADDRESS), Reader()
    asked = request()
    response = asyncio.ensure_future(resolve(edge.behind(BY_ADDRESS, handler=reader, is_read=True)(asked)))
    await asyncio.sleep(1.0)
    assert b"RateLimit: " in asked.extra_headers
    assert not response.done()
    reader.replies[0].set_result(Response(200))
    assert (await response).status == 200


@in_virtual_time
async def test_a_read_over_its_limit_is_abandoned_and_leaves_nothing_in_the_rejection() -> None:
    edge, reader = Edge(BY_ADDRESS), Reader()
    handler = edge.behind(BY_ADDRESS, handler=reader, is_read=True)
    asked = [request() for _ in range(4)]
    responses = [asyncio.ensure_future(resolve(handler(each))) for each in asked]
    rejected = await responses[3]
    assert rejected.status == 429
    assert b"Degraded" not in sent(rejected, asked[3]).header_block
    assert b"RateLimit: " in sent(rejected, asked[3]).header_block
    assert reader.abandoned == 1
    for reply in reader.replies[:3]:
        reply.set_result(Response(200))
    assert [(await each).status for each in responses[:3]] == [200, 200, 200]


@in_virtual_time
@pytest.mark.parametrize("is_late", [False, True])
async def test_the_error_of_a_read_is_raised_after_the_decision(is_late: bool) -> None:
    async def fail_later(_request: Request) -> Response:
        reply = asyncio.get_running_loop().create_future()
        reply.set_exception(ValueError())
        await reply
        return Response(200)

    def fail(asked: Request) -> Coroutine[Any, Any, Response]:
        if is_late:
            return fail_later(asked)
        raise ValueError

    edge = Edge(BY_ADDRESS)
    asked = [request() for _ in range(4)]
    handler = edge.behind(BY_ADDRESS, handler=fail, is_read=True)
    outcomes = await asyncio.gather(*(resolve(handler(each)) for each in asked), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, ValueError, ValueError, Response]
    assert all(b"RateLimit: " in each.extra_headers for each in asked)


@in_virtual_time
async def test_a_read_whose_client_leaves_is_abandoned() -> None:
    edge, reader = Edge(BY_ADDRESS), Reader()
    edge.store.mode = "hangs"
    response = asyncio.ensure_future(resolve(edge.behind(BY_ADDRESS, handler=reader, is_read=True)(request())))
    await asyncio.sleep(0)
    response.cancel()
    await asyncio.gather(response, return_exceptions=True)
    assert reader.abandoned == 1
