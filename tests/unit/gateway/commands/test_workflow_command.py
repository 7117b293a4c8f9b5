"""`peakgate workflow export`."""

from __future__ import annotations

import json

import pytest

from checkout.workflow.orders import LATEST
from gateway.cli.main import main

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:step"


def test_every_step_of_the_table_and_its_undo_is_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workflow", "export", "--function", FUNCTION]) == 0

    machine = json.loads(capsys.readouterr().out)
    states = machine["States"]
    names = {row.name for row in LATEST.rows} | {row.undo for row in LATEST.rows if row.undo is not None}
    assert names <= set(states)
    assert all(states[name]["Resource"] == FUNCTION and states[name]["Retry"] for name in names)
    named = {state["Next"] for state in states.values() if "Next" in state}
    named |= {catch["Next"] for state in states.values() for catch in state.get("Catch", [])}
    named |= {choice["Next"] for state in states.values() for choice in state.get("Choices", [])}
    assert {machine["StartAt"], "completed", "cancelled"} | named <= set(states)


def test_tasks_by_queue_have_a_task_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workflow", "export", "--queue", "https://sqs/steps", "--workflow-version", "1"]) == 0

    step = json.loads(capsys.readouterr().out)["States"]["notify"]
    assert step["Resource"].endswith(":sqs:sendMessage.waitForTaskToken")
    assert step["Parameters"]["MessageBody"]["token.$"] == "$$.Task.Token"


def test_an_unknown_version_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workflow", "export", "--function", FUNCTION, "--workflow-version", "77"]) == 64
    assert "the versions are 1" in capsys.readouterr().err
