"""The order worker as a function of AWS Lambda: its store, its queue and its services."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from checkout.events.batch import work_off
from checkout.workflow.step_tasks import StepTask
from gateway.compose.orders import open_order_backends, order_processor, step_tasks
from gateway.compose.payments import open_payments
from gateway.compose.shipping import open_shipping
from gateway.prerequisites import CannotStart, given_store, open_store
from gateway.resilience.breakers import Breakers
from gateway.settings import Settings

# Processes the orders of an event, or a task of a state machine, within so many seconds; returns the function's response.
LambdaWorker = Callable[[Any, float], Awaitable[dict[str, Any]]]


async def open_lambda_worker(settings: Settings, stack: AsyncExitStack) -> LambdaWorker:
    """Open the store, the queue and the services of orders; `stack` closes them. Raises `CannotStart`."""
    store = given_store(settings)
    if store is None or settings.queue_url is None:
        raise CannotStart(
            "a function needs PEAKGATE_STORE_URL and PEAKGATE_QUEUE_URL: it has no store and no queue of its own"
        )
    client = await open_store(store.url, stack, deadline_s=settings.store_timeout)
    worker_name = f"lambda-{secrets.token_hex(4)}"
    breakers = Breakers(settings.policies.breaker)
    backends = await open_order_backends(settings, store, client, breakers, stack, worker_name=worker_name)
    payments, shipping = await open_payments(settings, stack), await open_shipping(settings, stack)
    processing = order_processor(settings, backends, worker_name=worker_name, payments=payments, shipping=shipping)
    tasks = step_tasks(settings, backends, payments=payments, shipping=shipping)

    async def run(event: Any, remaining_s: float) -> dict[str, Any]:
        if "act" in event:
            with backends.pinned.pinned():
                await tasks.run(msgspec.convert(event, StepTask))
            return {}
        return await work_off(event, backends.queue, processing.process, remaining_s=remaining_s)

    return run
