from __future__ import annotations

import asyncio
from collections.abc import Callable

import uvloop

from tests.sqs import aws_credentials, sqs_endpoint, sqs_server  # noqa: F401  fixtures


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """On the event loop that the workers run on."""
    return {"uvloop": uvloop.new_event_loop}
