"""Tables of steps: for each version of the order workflow, its steps in sequence, each with its retries, its status, its failure and its undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from checkout.errors import CannotRunAgain
from checkout.order_status import NEXT, CancelReason, OrderStatus
from checkout.steps.step import Services, Step

# A call of a step begins in the first half of its worker's lease and ends before the lease does: see `checkout.processor`.
MAX_DEADLINE_S: Final = 5.0


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often a call of a step is repeated when it fails without being declined.

    A run of the order makes up to `attempts` calls, `backoff_s` apart at first, doubled each time and less a random half.
    Then the order leaves the worker, and runs again after 2, 8, 32 and 120 s (`checkout.processor`) until its service has not
    responded for `give_up_s`. None: for the time of `--order-patience`.
    """

    attempts: int
    backoff_s: float
    give_up_s: float | None = None


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a workflow. `step` makes it, with the services that it calls."""

    name: str
    """In metrics, in the history of orders, in `retry --from` and in exports. It never changes its meaning."""

    step: Callable[[Services], Step]

    retry: RetryPolicy

    deadline_s: float = MAX_DEADLINE_S
    """Of each call; longer than that of a guarded service (`checkout.guarded`), whose breaker must see the timeout."""

    reaches: OrderStatus | None = None
    """The status of the order after this step; None if a later step changes it."""

    fails_as: CancelReason | None = None
    """The reason for which the order is cancelled if the step fails; None if the order continues without the step."""

    no_response: Literal["waits", "fails"] = "waits"
    """What happens when a service does not respond to any attempt: the order waits for it, or the step fails."""

    undo: str | None = None
    """The name of the compensation, `Step.undo`, which runs when the order is cancelled; None if there is none."""

    repeatable: bool = False
    """Whether an operator may have it run again after it has succeeded: it neither charges nor books."""


class WorkflowTable(msgspec.Struct, frozen=True):
    """A version of the workflow. An order is run by the version with which it was accepted, to its end.

    Raises `ValueError` if the steps do not lead from `accepted` to `completed`, two have one name, or a deadline is too long.
    """

    version: int
    rows: tuple[StepRow, ...]

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError(f"two steps have the same name: {', '.join(names)}")
        for row in self.rows:
            if row.deadline_s > MAX_DEADLINE_S:
                raise ValueError(f"{row.name} has a deadline of more than {MAX_DEADLINE_S} s, the half of a lease")
        _stages(self.rows)

    def rows_to_repeat(self, status: OrderStatus, step: str) -> Sequence[StepRow]:
        """The steps that run again if an order of this status runs from `step` on: those that its status says are done.

        None of them for a step that leads from this status to the next: it runs anyway, after those before it. Raises
        `CannotRunAgain`: the step does not exist or is ahead, the order is cancelled, or a step would charge or book again.
        """
        names = [row.name for row in self.rows]
        if step not in names:
            raise CannotRunAgain(step, f"no such step; the steps are {', '.join(names)}")
        if status is OrderStatus.CANCELLED:
            raise CannotRunAgain(step, "the order is cancelled")
        if step in (row.name for row in self.stages.get(status, ())):
            return ()
        done = _done_at(self.stages, status)
        if step not in (row.name for row in done):
            raise CannotRunAgain(step, f"the order is {status}, and other steps come first")
        repeated = done[[row.name for row in done].index(step) :]
        for row in repeated:
            if not row.repeatable:
                raise CannotRunAgain(step, f"{row.name} has succeeded, and would charge or book again")
        return repeated

    @property
    def stages(self) -> Mapping[OrderStatus, Sequence[StepRow]]:
        """The steps that lead from each status to the next."""
        return _stages(self.rows)


def _done_at(stages: Mapping[OrderStatus, Sequence[StepRow]], status: OrderStatus) -> list[StepRow]:
    """The steps that are done when an order has this status, which is not `cancelled`."""
    done: list[StepRow] = []
    for begins_at, rows in stages.items():
        if begins_at is status:
            break
        done.extend(rows)
    return done


def _stages(rows: Sequence[StepRow]) -> dict[OrderStatus, list[StepRow]]:
    stages: dict[OrderStatus, list[StepRow]] = {}
    status, stage = OrderStatus.ACCEPTED, list[StepRow]()
    for row in rows:
        stage.append(row)
        if row.reaches is None:
            continue
        if row.reaches is not NEXT.get(status):
            raise ValueError(f"{row.name} leads to {row.reaches}, which does not follow {status}")
        stages[status] = stage
        status, stage = row.reaches, []
    if status is not OrderStatus.COMPLETED or stage:
        raise ValueError("the last step of a workflow leads to completed")
    return stages
