"""What events make of the policies, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from gateway.config.policies import Event, Limit, Policies, Room, Switch
from gateway.policies.schedule import effective_policies, next_change, to_prewarm

START = datetime(2026, 11, 27, 9, tzinfo=UTC)
END = START + timedelta(hours=3)
MOMENT = timedelta(microseconds=1)
DURING = START + timedelta(hours=1)


def sale(name: str = "sale", **members: Any) -> Event:
    return Event(**{"name": name, "start": START, "end": END, "prewarm_s": 600.0, **members})


def shop(*events: Event) -> Policies:
    return Policies(
        limits=(
            Limit(name="a", by="address", quota=100),
            Limit(name="b", by="address", quota=100, burst=200),
        ),
        rooms=(Room(name="drop", routes=("*",), admissions_per_s=1, max_active=1, enabled=False),),
        switches=(Switch(name="search"), Switch(name="hints", enabled=False)),
        events=events,
    )


def quotas(policies: Policies) -> list[tuple[int, int | None]]:
    return [(limit.quota, limit.burst) for limit in policies.limits]


def test_without_an_event_the_file_is_effective() -> None:
    assert effective_policies(shop(), DURING) == shop()


@pytest.mark.parametrize("at", [START - timedelta(days=1), END, END + timedelta(days=1)])
def test_before_and_after_an_event_the_file_is_effective(at: datetime) -> None:
    policies = shop(sale(limits={"a": 5}, rooms={"drop": True}, switches={"search": False}))
    assert effective_policies(policies, at) is policies


def test_an_event_changes_the_limits_it_names_and_no_others() -> None:
    now = effective_policies(shop(sale(limits={"b": 10}, rooms={"drop": True}, switches={"search": False})), DURING)
    assert quotas(now) == [(100, None), (10, 20)]
    assert [room.enabled for room in now.rooms] == [True]
    assert [switch.enabled for switch in now.switches] == [False, False]


def test_an_event_lasts_from_its_start_to_before_its_end() -> None:
    policies = shop(sale(limits={"a": 5}))
    assert [effective_policies(policies, at).limits[0].quota for at in (START - MOMENT, START, END - MOMENT, END)] == [
        100,
        5,
        5,
        100,
    ]


def test_the_waiting_room_opens_with_the_pre_warming() -> None:
    policies = shop(sale(rooms={"drop": True}, limits={"a": 5}))
    opens = START - timedelta(minutes=10)
    assert not effective_policies(policies, opens - MOMENT).rooms[0].enabled
    early = effective_policies(policies, opens)
    assert early.rooms[0].enabled
    assert early.limits[0].quota == 100


def test_a_factor_scales_every_limit_that_is_not_named() -> None:
    now = effective_policies(shop(sale(limits={"a": 70}, limits_factor=0.25)), DURING)
    assert quotas(now) == [(70, None), (25, 50)]


def test_no_factor_takes_the_last_request() -> None:
    policies = Policies(limits=(Limit(name="a", by="address", quota=1, burst=1),), events=(sale(limits_factor=0.1),))
    assert quotas(effective_policies(policies, DURING)) == [(1, 1)]


def test_where_events_overlap_the_tighter_wins() -> None:
    mild = sale("mild", limits={"a": 50}, rooms={"drop": False}, switches={"search": True, "hints": True})
    stern = sale("stern", limits={"a": 5, "b": 60}, rooms={"drop": True}, switches={"search": False})
    for policies in (shop(mild, stern), shop(stern, mild)):
        now = effective_policies(policies, DURING)
        assert quotas(now) == [(5, None), (60, 120)]
        assert now.rooms[0].enabled
        assert [switch.enabled for switch in now.switches] == [False, True]


def test_a_single_event_may_be_looser_than_the_file() -> None:
    now = effective_policies(shop(sale(limits={"a": 500}, switches={"hints": True})), DURING)
    assert now.limits[0].quota == 500
    assert now.switches[1].enabled


def test_times_of_other_zones_are_the_same_times() -> None:
    there = timezone(timedelta(hours=14))
    policies = shop(sale(start=START.astimezone(there), end=END.astimezone(there), limits={"a": 5}))
    assert effective_policies(policies, START).limits[0].quota == 5
    assert effective_policies(policies, END.astimezone(there)).limits[0].quota == 100


def test_the_next_change_is_each_boundary_in_turn() -> None:
    later = sale("later", start=END, end=END + timedelta(hours=1), prewarm_s=0.0)
    policies = shop(sale(), later)
    at = START - timedelta(days=1)
    seen = []
    while (moment := next_change(policies, at)) is not None:
        seen.append(moment)
        at = moment
    assert seen == [START - timedelta(minutes=10), START, END, END + timedelta(hours=1)]


def test_paths_are_fetched_before_the_start_only_and_once() -> None:
    policies = shop(sale(prewarm=("/a", "/b")), sale("other", prewarm=("/b", "/c"), prewarm_s=60.0))
    assert to_prewarm(policies, START - timedelta(minutes=11)) == []
    assert to_prewarm(policies, START - timedelta(minutes=10)) == ["/a", "/b"]
    assert to_prewarm(policies, START - timedelta(minutes=1)) == ["/a", "/b", "/c"]
    assert to_prewarm(policies, START) == []
