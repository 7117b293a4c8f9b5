"""The tables of the workflow: what a table must be, and that the one in use is."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from checkout.order import Order
from checkout.order_status import NEXT, OrderStatus
from checkout.steps.step import Services, Step
from checkout.workflow.orders import LATEST, TABLES, THREE_CALLS, VERSION_1
from checkout.workflow.table import MAX_DEADLINE_S, StepRow, WorkflowTable
from tests.unit.checkout.fake_services import FakeServices

ALL_STATUSES = [*NEXT.values()]


class Nothing(Step):
    """A step without an effect."""

    def __init__(self, _services: Services) -> None:
        pass

    async def apply(self, order: Order) -> None:
        pass


def rows(*reached: OrderStatus | None, **more: Any) -> tuple[StepRow, ...]:
    return tuple(
        StepRow(name=f"step {number}", step=Nothing, retry=THREE_CALLS, reaches=status, **more)
        for number, status in enumerate(reached)
    )


@pytest.mark.parametrize(
    "reached",
    [
        [],
        [OrderStatus.STOCK_CONFIRMED],
        [OrderStatus.PAYMENT_AUTHORISED],
        [*ALL_STATUSES, None],
        [*ALL_STATUSES, OrderStatus.COMPLETED],
    ],
)
def test_steps_that_do_not_lead_to_completed_are_refused(reached: list[OrderStatus | None]) -> None:
    with pytest.raises(ValueError, match="leads to"):
        WorkflowTable(1, rows(*reached))


def test_two_steps_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        WorkflowTable(1, (*rows(None), *rows(*ALL_STATUSES)))


def test_a_deadline_that_outlives_the_half_of_a_lease_is_refused() -> None:
    with pytest.raises(ValueError, match="deadline"):
        WorkflowTable(1, rows(*ALL_STATUSES, deadline_s=MAX_DEADLINE_S + 1))


@pytest.mark.parametrize("named", [True, False])
def test_an_undo_that_is_only_in_the_table_or_only_in_the_class_is_refused(named: bool) -> None:
    row = next(row for row in VERSION_1.rows if (row.undo is None) is named)
    wrong = msgspec.structs.replace(row, undo="nothing" if named else None)
    table = WorkflowTable(1, tuple(wrong if each is row else each for each in VERSION_1.rows))

    with pytest.raises(ValueError, match="not in both"):
        FakeServices().workflow(tables={1: table})


def test_new_orders_have_the_latest_version_and_workers_know_all() -> None:
    assert max(TABLES.values(), key=lambda table: table.version) is LATEST
    assert all(table.version == max(version, 1) for version, table in TABLES.items())


FIRST_STEPS: list[tuple[str, str | None]] = [
    ("enter_in_index", None),
    ("confirm_stock", "stock_confirmed"),
    ("authorise_payment", "payment_authorised"),
    ("arrange_shipping", "shipping_arranged"),
    ("capture_payment", None),
    ("notify", "completed"),
]
# A version is never edited once orders have it: append a new one. The second is of orders with discounts or taxes.
STEPS_OF_VERSION: Mapping[int, list[tuple[str, str | None]]] = {1: FIRST_STEPS, 2: FIRST_STEPS}


def test_a_version_keeps_its_steps() -> None:
    assert {
        table.version: [(row.name, row.reaches) for row in table.rows] for table in TABLES.values()
    } == STEPS_OF_VERSION


def test_the_page_about_the_workflow_shows_the_latest_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "workflow.md").read_text(encoding="utf-8")
    header = "| step | reaches | fails as | without a response | undo | may run again |"
    lines = iter(page.partition(header)[2].splitlines()[2:])
    cells = [
        [cell.strip().strip("`") for cell in line.split("|")[1:-1]]
        for line in itertools.takewhile(lambda line: line.startswith("|"), lines)
    ]
    assert cells == [
        [
            row.name,
            row.reaches or "",
            row.fails_as or "",
            row.no_response,
            row.undo or "",
            "yes" if row.repeatable else "",
        ]
        for row in LATEST.rows
    ]
