"""The table of problems: it has every refusal, and no row contradicts another."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import orjson
import pytest

from cart.catalog.ports import SearchUnavailable
from cart.errors import CartClosed, Interrupted, Refusal, TrendingPaused
from checkout import errors as _  # noqa: F401 - so that its refusals are subclasses
from gateway.http import problem_body, problems
from store import Reason, StoreOverloaded, StoreTimeout, StoreUnavailable


def subclasses_of(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for each in kind.__subclasses__():
        yield each
        yield from subclasses_of(each)


@pytest.mark.parametrize("kind", sorted(subclasses_of(Refusal), key=str))
def test_every_refusal_has_a_problem(kind: type[BaseException]) -> None:
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
def test_an_unavailable_dependency_is_503_with_retry_after(error: Exception, slug: str) -> None:
    problem = problems.of_error(error)
    assert problem is not None
    assert (problem.slug, problem.status, problem.header_block) == (slug, 503, b"Retry-After: 1\r\n")


@pytest.mark.parametrize("is_wrapped", [False, True])
@pytest.mark.parametrize(
    ("reason", "what"), [(Reason.FULL_MEMORY, "memory is full"), (Reason.FULL_DISK, "cannot write to its disk")]
)
def test_a_write_that_a_full_store_refused_has_the_reason_as_its_detail(
    reason: Reason, what: str, is_wrapped: bool
) -> None:
    error: Exception = StoreUnavailable("OOM command not allowed", reason=reason)
    if is_wrapped:
        error, cause = Interrupted(may_have_run=False), error
        error.__cause__ = cause
    problem = problems.of_error(error)
    assert problem is not None
    detail = problem.members(error)["detail"]
    assert what in detail
    assert detail.startswith("The store")
    assert "reads go on, carts and orders are refused" in detail


def test_a_slug_has_one_status() -> None:
    assert len({(row.slug, row.status) for row in problems.ALL}) == len({row.slug for row in problems.ALL})


def test_an_internal_error_has_no_problem() -> None:
    assert problems.of_error(RuntimeError()) is None


# The slugs and statuses of the API contract.
CONTRACT = {
    "malformed-json": 400,
    "invalid-body": 422,
    "cart-not-found": 404,
    "line-not-found": 404,
    "product-not-found": 404,
    "order-not-found": 404,
    "cart-full": 422,
    "quantity-limit": 422,
    "version-mismatch": 412,
    "cart-closed": 409,
    "cart-empty": 422,
    "idempotency-key-missing": 400,
    "idempotency-key-reused": 422,
    "idempotency-key-in-progress": 409,
    "price-changed": 409,
    "out-of-stock": 409,
    "shopper-limit": 409,
    "hold-not-extendable": 409,
    "total-mismatch": 409,
    "coupon-refused": 409,
    "shipping-not-offered": 422,
    "card-data-refused": 422,
    "overloaded": 503,
    "ambiguous-request": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "quota-exceeded": 429,
    "not-implemented": 501,
    "bad-gateway": 502,
    "gateway-timeout": 504,
    "waiting-room": 503,
    "disabled": 503,
    "sold-out": 409,
    "dependency-unavailable": 503,
    "body-too-large": 413,
    "unsupported-media-type": 415,
    "headers-too-large": 431,
    "target-too-long": 414,
    "unknown-transfer-coding": 501,
    "version-not-supported": 505,
    # Of HTTP itself.
    "not-found": 404,
    "method-not-allowed": 405,
    "malformed-request": 400,
    "request-timeout": 408,
    "expectation-failed": 417,
    "order-elsewhere": 421,
    "too-late-to-cancel": 409,
    "webhook-not-signed": 401,
    "too-many-reports": 409,
    "internal-error": 500,
}


def test_slugs_and_statuses_are_those_of_the_contract() -> None:
    assert {row.slug: row.status for row in problems.ALL} == CONTRACT


@pytest.mark.parametrize("row", problems.ALL, ids=lambda row: row.slug)
def test_a_response_has_all_members_of_a_problem(row: problems.Problem) -> None:
    response = problems.response(row, "0123abcd")
    body = orjson.loads(response.body)
    assert response.content_type == b"application/problem+json"
    assert body["type"] == f"/problems/{row.slug}"
    assert body["status"] == response.status == row.status
    assert body["title"] == row.title
    assert body["detail"] == row.detail
    assert body["instance"] == "0123abcd"


def test_facts_become_members_and_may_replace_the_detail() -> None:
    refused = CartClosed("an-order")
    row = problems.of_error(refused)
    assert row is not None
    body = orjson.loads(problems.response(row, "id", row.members(refused)).body)
    assert body["order_id"] == "an-order"
    assert body["detail"] == "The cart has been ordered."
    assert body["title"] == row.title


# Their layers set Retry-After.
RETRY_AFTER_BY_LAYER = (problems.OVERLOADED, problems.WAITING_ROOM, problems.DISABLED)


@pytest.mark.parametrize(
    "row",
    [row for row in problems.ALL if row.status == 503 and row not in RETRY_AFTER_BY_LAYER],
    ids=lambda row: row.title[:30],
)
def test_a_503_has_retry_after(row: problems.Problem) -> None:
    expected = problems.TRENDING_RETRY_S if row is problems.REFUSALS[TrendingPaused] else problems.RETRY_AFTER_S
    assert b"Retry-After: %d\r\n" % expected in problems.response(row, "id").header_block


def test_a_slug_has_one_status_and_one_title() -> None:
    rows = {(row.slug, row.status, row.title) for row in problems.ALL}
    assert len(rows) == len({row[0] for row in rows})


@pytest.mark.parametrize("row", problems.ALL, ids=lambda row: row.slug)
def test_a_response_has_the_members_of_the_struct_in_the_api_document(row: problems.Problem) -> None:
    body = problems.response(row, "0123abcd").body
    assert msgspec.json.encode(msgspec.json.decode(body, type=problem_body.Problem)) == body


@pytest.mark.parametrize("row", problems.ALL, ids=lambda row: row.slug)
def test_a_title_is_a_phrase_and_a_detail_is_sentences_that_add_to_it(row: problems.Problem) -> None:
    assert len(row.title) <= 40
    assert not row.title.endswith(".")
    assert row.detail.endswith(".")
    assert row.detail.rstrip(".") != row.title
