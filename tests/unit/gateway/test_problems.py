"""The page of problems: no refusal without a row, no row that contradicts another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cart.catalog.ports import SearchUnavailable
from cart.errors import Refusal
from checkout import errors as _  # noqa: F401 - its refusals are to be known
from gateway import problems
from store import StoreOverloaded, StoreTimeout, StoreUnavailable


def below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


@pytest.mark.parametrize("kind", sorted(below(Refusal), key=str))
def test_every_refusal_has_a_row(kind: type[BaseException]) -> None:
    assert problems.of_error(kind.__new__(kind)) is not None


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (StoreUnavailable("away"), "dependency-unavailable"),
        (StoreTimeout("late"), "dependency-unavailable"),
        (SearchUnavailable("locked"), "dependency-unavailable"),
        (StoreOverloaded("full"), "overloaded"),
    ],
)
def test_a_dependency_that_is_away_is_503_and_says_when_to_come_back(error: Exception, slug: str) -> None:
    problem = problems.of_error(error)
    assert problem is not None
    assert (problem.slug, problem.status, problem.header_lines) == (slug, 503, b"Retry-After: 1\r\n")


def test_a_slug_has_one_status() -> None:
    assert len({(row.slug, row.status) for row in problems.ALL}) == len({row.slug for row in problems.ALL})


def test_what_is_no_refusal_has_no_row() -> None:
    assert problems.of_error(RuntimeError()) is None
