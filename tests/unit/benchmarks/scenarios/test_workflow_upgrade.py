from benchmarks.scenarios.workflow_upgrade import Outcome, results_of

ONE, TWO = frozenset({"a", "b"}), frozenset({"c", "d"})


def outcome(**changes: frozenset[str] | int) -> Outcome:
    right: dict[str, frozenset[str] | int] = {
        "of_1": ONE,
        "of_2": TWO,
        "completed": ONE | TWO,
        "screened": TWO,
        "indexed": ONE,
        "moved_by_old": frozenset({"a"}),
        "stock_taken": 4,
    }
    return Outcome(**right | changes, took_s=1.0)  # type: ignore[arg-type]


def test_every_order_by_its_own_steps_meets_the_targets() -> None:
    assert all(result.met is not False for result in results_of(outcome()))


def test_each_wrong_order_is_counted() -> None:
    wrong = outcome(
        completed=frozenset({"a"}),
        screened=frozenset({"a"}),
        indexed=frozenset({"c", "d"}),
        moved_by_old=frozenset({"a", "c"}),
        stock_taken=3,
    )
    assert [result.measured for result in results_of(wrong) if result.target is not None] == [3, 2, 1, 2, 2, 1, 1]
