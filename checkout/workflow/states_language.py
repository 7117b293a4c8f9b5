"""The workflow's table as a definition in the Amazon States Language (https://states-language.net/spec.html).

A state machine of it runs orders by the same steps: each of its tasks is one act of `checkout.workflow.step_tasks`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from checkout.processor import FIRST_RETRY_S, MAX_FAILURES, MAX_RETRY_S, PATIENCE_S, RETRY_FACTOR
from checkout.workflow.step_tasks import FINISH
from checkout.workflow.table import StepRow, WorkflowTable

State = Mapping[str, Any]
# Makes the `Resource` and `Parameters` of a task from its input.
Call = Callable[[Mapping[str, Any]], State]

# The largest that the language allows: an outage of a service is not the order's own failure.
_WITHOUT_END: Final = 99_999_999
# Raised by every task in these cases; not worth a retry.
_FINAL_ERRORS: Final = ["Declined", "OrderCancelled"]
_NO_RESPONSE: Final = ["NoResponse", "States.Timeout"]


def function_call(function_arn: str) -> Call:
    """Tasks that are calls of a Lambda function."""
    return lambda task: {"Resource": function_arn, "Parameters": task}


def queue_call(queue_url: str) -> Call:
    """Tasks that are messages in an SQS queue; a worker reports the result with the task token in the message."""
    return lambda task: {
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"QueueUrl": queue_url, "MessageBody": {**task, "token.$": "$$.Task.Token"}},
    }


def states_language(table: WorkflowTable, call: Call, *, patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """The definition of a version of the workflow. Its input is `{"order_id": "…"}`.

    `patience_s` is the give-up time of steps whose table names none. An order that the workflow would set aside for a person
    ends in the state `needs_attention`, which fails the execution.
    """
    return _Definition(table, call, patience_s).document()


class _Definition:
    def __init__(self, table: WorkflowTable, call: Call, patience_s: float) -> None:
        self._table = table
        self._call = call
        self._patience_s = patience_s
        self._undone_first = _undone_first(table)

    def document(self) -> dict[str, Any]:
        rows = self._table.rows
        states: dict[str, Any] = {}
        for row, following in zip(rows, [*(row.name for row in rows[1:]), "finish"], strict=True):
            states |= self._step(row, following)
        states["finish"] = self._task({"act": FINISH}, retry=self._patient(None)) | {"Next": "completed"}
        undone = [row for row in reversed(rows) if row.undo is not None]
        for row, after in zip(undone, [*(row.undo for row in undone[1:]), "are_all_undone"], strict=True):
            states[str(row.undo)] = self._undo(row, str(after))
        states["are_all_undone"] = {
            "Type": "Choice",
            "Choices": [{"Variable": "$.not_undone", "IsPresent": True, "Next": "needs_attention"}],
            "Default": "finish_cancelled",
        }
        states["finish_cancelled"] = self._task({"act": FINISH}, retry=self._patient(None)) | {"Next": "cancelled"}
        states["completed"] = states["cancelled"] = {"Type": "Succeed"}
        states["needs_attention"] = {"Type": "Fail", "Error": "NeedsAttention"}
        return {
            "Comment": f"The order workflow, version {self._table.version}",
            "StartAt": rows[0].name,
            "States": states,
        }

    def _step(self, row: StepRow, following: str) -> dict[str, State]:
        """The state of a step, and that of its failure."""
        name, undone_first = row.name, self._undone_first[row.name]
        failures = ["Declined", *(_NO_RESPONSE if row.no_response == "fails" else [])]
        states: dict[str, State] = {}
        if row.fails_as is not None:
            after = f"cancel_after_{name}"
            task = {"act": "cancel", "step": name, "failure.$": "$.failure"}
            states[after] = self._task(task, retry=self._patient(None)) | {"Next": undone_first}
        elif row.reaches is not None:
            after = f"without_{name}"
            task = {"act": "skip", "step": name, "failure.$": "$.failure"}
            states[after] = self._task(task, retry=self._patient(None)) | {"Next": following}
        else:
            after = following
        retry = self._brief(row) if row.no_response == "fails" else self._patient(row)
        state = self._task({"act": "apply", "step": name}, retry=retry, deadline_s=row.deadline_s)
        catch = [
            {"ErrorEquals": ["OrderCancelled"], "ResultPath": "$.failure", "Next": undone_first},
            {"ErrorEquals": failures, "ResultPath": "$.failure", "Next": after},
        ]
        states[name] = state | {"Catch": [*catch, *state["Catch"]], "Next": following}
        return states

    def _undo(self, row: StepRow, following: str) -> State:
        """If it cannot be undone, the others are undone all the same."""
        state = self._task({"act": "undo", "step": row.name}, retry=self._patient(row), deadline_s=row.deadline_s)
        catch = {"ErrorEquals": ["States.ALL"], "ResultPath": "$.not_undone", "Next": following}
        return state | {"Catch": [catch], "Next": following}

    def _task(self, task: Mapping[str, Any], *, retry: Sequence[State], deadline_s: float = 5.0) -> dict[str, Any]:
        given = {"order_id.$": "$.order_id", "workflow": self._table.version, **task}
        return {
            "Type": "Task",
            **self._call(given),
            # As long as a lease: the task itself has the step's deadline, so then its worker has died.
            "TimeoutSeconds": math.ceil(2 * deadline_s),
            "ResultPath": None,
            "Retry": list(retry),
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": "needs_attention"}],
        }

    def _brief(self, row: StepRow) -> list[State]:
        """For a step that fails if its service does not respond."""
        attempts = row.retry.attempts - 1
        brief = _retrier(_NO_RESPONSE, attempts, first_s=math.ceil(row.retry.backoff_s), factor=2.0)
        return _retriers(brief, self._patience_of(row))

    def _patient(self, row: StepRow | None) -> list[State]:
        """For a step whose order waits."""
        retries = self._patience_of(row)
        return _retriers(_retrier(_NO_RESPONSE, retries), retries)

    def _patience_of(self, row: StepRow | None) -> int:
        """How many retries an order makes that waits for a response in this step."""
        give_up_s = None if row is None else row.retry.give_up_s
        return _retries_in(self._patience_s if give_up_s is None else give_up_s)


def _undone_first(table: WorkflowTable) -> dict[str, str]:
    """For each step, where undoing begins if it fails: at the last step that may have been applied."""
    first: dict[str, str] = {}
    undo = "are_all_undone"
    for rows in table.stages.values():
        undo = next((row.undo for row in reversed(rows) if row.undo is not None), undo)
        first |= {row.name: undo for row in rows}
    return first


def _retriers(no_response: State, patience: int) -> list[State]:
    return [
        {"ErrorEquals": _FINAL_ERRORS, "MaxAttempts": 0},
        _retrier(["DependencyTripped"], _WITHOUT_END),
        no_response,
        # A service that cannot be reached, or whose look-ups are not answered: the order waits, also in steps that fail.
        _retrier(["ServiceNotReached", "ResolveLater"], patience),
        _retrier(["States.ALL"], MAX_FAILURES - 1),
    ]


def _retrier(
    errors: Sequence[str], attempts: int, *, first_s: float = FIRST_RETRY_S, factor: float = RETRY_FACTOR
) -> State:
    return {
        "ErrorEquals": errors,
        "IntervalSeconds": max(1, math.ceil(first_s)),
        "BackoffRate": factor,
        "MaxDelaySeconds": math.ceil(MAX_RETRY_S),
        "MaxAttempts": attempts,
        "JitterStrategy": "FULL",
    }


def _retries_in(give_up_s: float) -> int:
    """How many retries are begun in that time."""
    delay_s, passed_s, count = FIRST_RETRY_S, 0.0, 0
    while passed_s < give_up_s:
        passed_s += delay_s
        delay_s = min(delay_s * RETRY_FACTOR, MAX_RETRY_S)
        count += 1
    return count
