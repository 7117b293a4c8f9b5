from collections import Counter

from benchmarks.scenarios.failover import TARGET_S, WAYS, Outcome, results_of


def test_the_slowest_round_and_each_lost_order_count() -> None:
    quick = Outcome([0.2, 0.3], 1.0, Counter({"202": 2}), lost=0)
    slow = Outcome([TARGET_S + 1, TARGET_S + 2], TARGET_S, Counter({"202": 2, "503": 9}), lost=1)
    first, completed, lost = results_of(WAYS[0], [quick, slow])
    assert (first.measured, first.met, first.note) == (TARGET_S + 1, False, "4 202, 9 503")
    assert (completed.measured, completed.met) == (TARGET_S, True)
    assert (lost.measured, lost.met) == (1, False)


def test_connections_are_kept_and_cut_and_the_primary_is_killed_and_hangs() -> None:
    assert len({way.change for way in WAYS}) == len({way.name for way in WAYS}) == 4
