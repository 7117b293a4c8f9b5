from benchmarks.scenarios.releases import Outcome, results_of


def test_two_releases_that_agree_meet_the_targets() -> None:
    outcome = Outcome(orders=["a", "b"], ends={"a": "completed", "b": "completed"})
    outcome.expect("cart", {"MUG": 1}, {"MUG": 1})

    assert all(result.met is not False for result in results_of(outcome))


def test_each_difference_and_each_order_without_its_end_is_counted() -> None:
    outcome = Outcome(orders=["a", "b", "c"], ends={"a": "completed", "b": "cancelled"})
    outcome.expect("cart", {"MUG": 2}, {"MUG": 1})

    assert [result.measured for result in results_of(outcome)[:2]] == [1, 2]
    assert outcome.differences == ["cart: {'MUG': 2}, not {'MUG': 1}"]
