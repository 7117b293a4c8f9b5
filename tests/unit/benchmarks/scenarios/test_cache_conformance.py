"""Counting the results of the conformance suite."""

from __future__ import annotations

from typing import Any

from benchmarks.scenarios.cache_conformance import OPTIMAL, REQUIRED, Count, count


def a_test(name: str, *depends_on: str, kind: str = REQUIRED, browser_only: bool = False) -> dict[str, Any]:
    return {"id": name, "kind": kind, "depends_on": list(depends_on), "browser_only": browser_only}


def test_results_are_counted_by_kind() -> None:
    tests = [a_test("a"), a_test("b"), a_test("c", kind=OPTIMAL), a_test("d", browser_only=True)]
    results = {"a": True, "b": ["Assertion", "it is stale"], "c": True}
    assert count(tests, results, REQUIRED) == Count(2, 1, {"b": "Assertion: it is stale"})
    assert count(tests, results, OPTIMAL) == Count(1, 1, {})


def test_a_test_passes_only_with_those_that_it_depends_on() -> None:
    tests = [a_test("a"), a_test("b", "a"), a_test("c", "b")]
    results = {"a": ["Setup", "no"], "b": True, "c": True}
    assert count(tests, results, REQUIRED).failed == {"a": "Setup: no", "b": "depends on a", "c": "depends on b"}


def test_a_test_without_a_result_has_failed() -> None:
    assert count([a_test("a")], {}, REQUIRED).failed == {"a": "not run"}
