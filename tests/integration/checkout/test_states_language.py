"""The exported definition, run by an interpreter of the Amazon States Language: the same steps in the same sequence."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import boto3
import msgspec
import pytest
from moto import mock_aws
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser

from checkout.fact_handlers import fact_handlers
from checkout.facts import Fact, PaymentFact, RefundRequest, ShipmentFact
from checkout.order import Order
from checkout.order_status import CancelReason, OrderStatus
from checkout.payments.sandbox import PaymentState
from checkout.workflow.orders import LATEST
from checkout.workflow.runner import order_steps
from checkout.workflow.states_language import Call, function_call, queue_call, states_language
from checkout.workflow.step_tasks import StepTask, StepTasks
from tests.unit.checkout.fake_services import DECLINED, NOW, UNAVAILABLE, FakeServices, Fault, Faults, FaultyPort
from tests.waiting import wait_until

REGION = "eu-west-1"
FUNCTION = f"arn:aws:lambda:{REGION}:123456789012:function:peakgate-step"
ROLE = "arn:aws:iam::123456789012:role/peakgate"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


class Shop(FakeServices):
    """An order's services, and the tasks of an engine that runs the workflow."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        # One process for all tasks, in which no time passes.
        self.clock_ms = lambda: NOW
        orders: Any = FaultyPort(self.orders, self.faults)
        ports = self.ports(self.clock_ms)
        facts = fact_handlers(stock=ports["stock"], payments=ports["payments"], clock_ms=self.clock_ms)
        self._tasks = StepTasks(orders, order_steps(**ports), facts=facts, clock_ms=self.clock_ms)

    def run_task(self, body: bytes | str) -> Exception | None:
        """Run a task as a function or a worker would; the error that the engine gets."""
        try:
            asyncio.run(self._tasks.run(msgspec.json.decode(body, type=StepTask)))
        except Exception as error:  # noqa: BLE001 - it is the result of the task
            return error
        return None

    def story(self, order: Order) -> tuple[Any, ...]:
        """What was called, in sequence, and what became of the order."""
        now = self.now(order)
        # Between steps, tasks read the order; they store at once what our own workflow stores with the next status.
        calls = [call for call in self.faults.calls if call not in {"MemoryOrders.read", "MemoryOrders.update"}]
        return calls, [entry.status for entry in now.history], now.reason, self.ledger(order), self.sold()


_parse = functools.cache(AmazonStateLanguageParser.parse)


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    # Between retries.
    monkeypatch.setattr("moto.stepfunctions.parser.asl.component.common.retry.retrier_decl.time.sleep", lambda _: None)
    # Parsing takes most of the time of a run.
    monkeypatch.setattr(AmazonStateLanguageParser, "parse", staticmethod(_parse))
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}):
        yield


class Engine:
    """Step Functions, as emulated by moto."""

    def __init__(self, call: Call) -> None:
        self._states = boto3.client("stepfunctions", REGION)
        definition = json.dumps(states_language(LATEST, call))
        made = self._states.create_state_machine(name="orders", definition=definition, roleArn=ROLE)
        self._machine = made["stateMachineArn"]

    def run(self, order: Order, poll: Callable[[], object] = lambda: None) -> str:
        """Run an order to the end of its execution; the id of the order is the name of the execution."""
        given = json.dumps({"order_id": order.id})
        run = self._states.start_execution(stateMachineArn=self._machine, name=order.id, input=given)
        status = "RUNNING"

        def has_ended() -> bool:
            nonlocal status
            poll()
            status = self._states.describe_execution(executionArn=run["executionArn"])["status"]
            return bool(status != "RUNNING")

        wait_until(has_ended, step_s=0.03)
        return status


def run_by_functions(shop: Shop, order: Order, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the order by a state machine whose tasks are calls of a Lambda function, which is our code."""

    def invoke(_: Any, _name: str, _qualifier: str | None, body: Any, _headers: Any, response: dict[str, str]) -> bytes:
        error = shop.run_task(body)
        if error is None:
            return b"{}"
        response["x-amz-function-error"] = "Unhandled"
        return json.dumps({"errorType": type(error).__name__, "errorMessage": str(error)}).encode()

    monkeypatch.setattr(LambdaSimpleBackend, "invoke", invoke)
    return Engine(function_call(FUNCTION)).run(order)


def run_by_queue(shop: Shop, order: Order) -> str:
    """Run the order by a state machine whose tasks are messages to our workers."""
    states, sqs = boto3.client("stepfunctions", REGION), boto3.client("sqs", REGION)
    url = sqs.create_queue(QueueName="steps")["QueueUrl"]

    def poll() -> None:
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            token = json.loads(message["Body"])["token"]
            error = shop.run_task(message["Body"])
            # An execution that has ended meanwhile has no use for the result.
            with contextlib.suppress(states.exceptions.ClientError):
                if error is None:
                    states.send_task_success(taskToken=token, output="{}")
                else:
                    states.send_task_failure(taskToken=token, error=type(error).__name__, cause=str(error))

    return Engine(queue_call(url)).run(order, poll)


Plan = Mapping[str, Sequence[Fault]]
LOST = Fault(UNAVAILABLE.error, after=True)
STORIES: dict[str, tuple[str, Plan, OrderStatus, CancelReason | None]] = {
    "success": ("tok_ok", {}, OrderStatus.COMPLETED, None),
    "payment declined": ("tok_declined", {}, OrderStatus.CANCELLED, CancelReason.PAYMENT_DECLINED),
    "shipping declined": (
        "tok_ok",
        {"SandboxShipping.arrange": [DECLINED]},
        OrderStatus.CANCELLED,
        CancelReason.SHIPPING_FAILED,
    ),
    "carrier whose first responses are lost": (
        "tok_ok",
        {"SandboxShipping.arrange": [UNAVAILABLE, LOST]},
        OrderStatus.COMPLETED,
        None,
    ),
    "payment whose first response is lost": (
        "tok_ok",
        {"SandboxPayments.authorise": [LOST], "SandboxPayments.capture": [LOST]},
        OrderStatus.COMPLETED,
        None,
    ),
    "capture declined": (
        "tok_ok",
        {"SandboxPayments.capture": [DECLINED]},
        OrderStatus.CANCELLED,
        CancelReason.PAYMENT_DECLINED,
    ),
    "notification declined": (
        "tok_ok",
        {"CountingNotifications.order_completed": [DECLINED]},
        OrderStatus.COMPLETED,
        None,
    ),
    "undo that fails once": (
        "tok_ok",
        {"SandboxShipping.arrange": [DECLINED], "SandboxPayments.void": [UNAVAILABLE]},
        OrderStatus.CANCELLED,
        CancelReason.SHIPPING_FAILED,
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_an_interpreter_takes_the_same_steps_in_the_same_sequence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    token, plan, status, reason = STORIES[name]
    own, other = Shop(Faults(plan)), Shop(Faults(plan))
    of_own, of_other = asyncio.run(own.accept(token=token)), asyncio.run(other.accept(token=token))
    asyncio.run(own.run(of_own, own.workflow(sleep=lambda _: asyncio.sleep(0))))

    assert run_by_functions(other, of_other, monkeypatch) == "SUCCEEDED"

    assert other.story(of_other) == own.story(of_own)
    now = other.now(of_other)
    assert (now.status, now.reason) == (status, reason)
    assert [entry.detail for entry in now.history] == [entry.detail for entry in own.now(of_own).history]
    assert of_other.id not in other.orders.in_flight


@pytest.mark.parametrize("name", ["success", "payment declined", "shipping declined"])
def test_workers_that_take_tasks_from_a_queue_take_them_too(name: str) -> None:
    token, plan, status, reason = STORIES[name]
    own, other = Shop(Faults(plan)), Shop(Faults(plan))
    of_own, of_other = asyncio.run(own.accept(token=token)), asyncio.run(other.accept(token=token))
    asyncio.run(own.run(of_own))

    assert run_by_queue(other, of_other) == "SUCCEEDED"

    assert other.story(of_other) == own.story(of_own)
    assert (other.now(of_other).status, other.now(of_other).reason) == (status, reason)


def test_an_order_that_was_cancelled_by_the_shopper_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(Faults())
    order = asyncio.run(shop.accept())
    cancelled, _ = asyncio.run(shop.orders.cancel(order, at=order.created_at, message=b""))

    assert run_by_functions(shop, cancelled, monkeypatch) == "SUCCEEDED"

    assert shop.now(order).reason is CancelReason.REQUESTED
    assert shop.sold() == 0
    assert not shop.ledger(order)


def test_an_order_that_cannot_be_undone_fails_the_execution_and_the_rest_is_undone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop(Faults({"SandboxShipping.arrange": [DECLINED], "SandboxPayments.void": [UNAVAILABLE] * 100}))
    order = asyncio.run(shop.accept())

    assert run_by_functions(shop, order, monkeypatch) == "FAILED"

    assert shop.now(order).status is OrderStatus.CANCELLED
    assert shop.sold() == 0
    assert order.id in shop.orders.in_flight


def test_a_payment_that_never_responds_to_its_capture_fails_the_execution_after_the_give_up_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop(Faults({"SandboxPayments.capture": [UNAVAILABLE] * 100}))
    order = asyncio.run(shop.accept())

    assert run_by_functions(shop, order, monkeypatch) == "FAILED"

    # 2, 8, 32 and then 120 s between calls: twelve of them in 900 s.
    assert shop.faults.calls.count("SandboxPayments.capture") == 12
    assert shop.ledger(order) == [PaymentState.AUTHORISED]
    assert shop.now(order).status is OrderStatus.SHIPPING_ARRANGED


FACTS: dict[str, Fact] = {
    "an early report of the carrier": ShipmentFact("carrier:1", NOW, "shipped", carrier="Royal Mail"),
    "a return into stock": ShipmentFact("carrier:2", NOW, "returned", restock=True),
    "a refund": RefundRequest("refund:1", NOW, 100),
    "a payment that is authorised already": PaymentFact("payment:1", NOW, "authorised", 1005, "sandbox-1"),
}


@pytest.mark.parametrize("name", FACTS)
def test_facts_that_came_meanwhile_are_applied(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = Shop(Faults()), Shop(Faults())
    orders = [asyncio.run(shop.accept()) for shop in (own, other)]
    for shop, order in zip((own, other), orders, strict=True):
        asyncio.run(shop.orders.append_fact(order.id, FACTS[name], message=b""))
    asyncio.run(own.run(orders[0], own.workflow(sleep=lambda _: asyncio.sleep(0))))

    assert run_by_functions(other, orders[1], monkeypatch) == "SUCCEEDED"

    assert other.story(orders[1]) == own.story(orders[0])
    now = other.now(orders[1])
    assert not now.facts
    assert (now.refunded, now.restocked) == (own.now(orders[0]).refunded, own.now(orders[0]).restocked)
    assert orders[1].id not in other.orders.in_flight


WAITS = {"not answered": UNAVAILABLE, "timed out": Fault(TimeoutError())}


@pytest.mark.parametrize("name", WAITS)
def test_an_order_waits_for_the_look_up_of_its_payment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(Faults({"SandboxPayments.authorise": [LOST], "SandboxPayments.look_up": [WAITS[name]] * 11}))
    order = asyncio.run(shop.accept())

    assert run_by_functions(shop, order, monkeypatch) == "SUCCEEDED"

    assert shop.now(order).status is OrderStatus.COMPLETED
    assert shop.ledger(order) == [PaymentState.AUTHORISED, PaymentState.CAPTURED]


@pytest.mark.parametrize("name", WAITS)
def test_a_look_up_that_is_never_answered_fails_the_execution_after_the_give_up_time(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(Faults({"SandboxPayments.authorise": [LOST], "SandboxPayments.look_up": [WAITS[name]] * 100}))
    order = asyncio.run(shop.accept())

    assert run_by_functions(shop, order, monkeypatch) == "FAILED"

    assert shop.faults.calls.count("SandboxPayments.look_up") == 12
    assert shop.now(order).status is OrderStatus.STOCK_CONFIRMED
