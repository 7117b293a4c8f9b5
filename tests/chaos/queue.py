"""A queue of SQS that goes away and comes back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest

from benchmarks.harness.forwarder import Forwarder
from benchmarks.harness.ports import free_port
from benchmarks.peers.fauxqs_server import Fauxqs, fauxqs
from benchmarks.peers.servers import PeerMissing

_REGION = "eu-west-1"


class ChaosQueue:
    """The queue, behind a forwarder that can lead nowhere."""

    def __init__(self, server: Fauxqs, front: Forwarder) -> None:
        self._server = server
        self._front = front
        self._nowhere = free_port()
        sqs = boto3.client("sqs", region_name=_REGION, endpoint_url=server.endpoint)
        # A message whose receiver died is delivered again soon.
        attributes = {"VisibilityTimeout": "5"}
        # Its name for the server, and not where it is reached.
        self._url: str = sqs.create_queue(QueueName="orders", Attributes=attributes)["QueueUrl"]

    @property
    def options(self) -> tuple[str, ...]:
        """The options of a gateway that uses it."""
        address = f"http://127.0.0.1:{self._front.port}"
        return ("--queue-url", self._url, "--aws-endpoint-url", address, "--aws-region", _REGION)

    def be_away(self) -> None:
        """Connections are closed at once, those that are open too."""
        self._front.retarget(self._nowhere)
        self._front.cut()

    def come_back(self) -> None:
        self._front.retarget(self._server.port)

    def pause(self) -> None:
        """It accepts connections and says nothing."""
        os.kill(self._server.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._server.pid, signal.SIGCONT)


@contextmanager
def sqs_queue() -> Iterator[ChaosQueue]:
    """An empty queue. Skips the test where its server cannot be had."""
    try:
        with fauxqs() as server, Forwarder(server.port) as front:
            yield ChaosQueue(server, front)
    except PeerMissing as error:
        pytest.skip(f"fauxqs, an SQS server on Node.js: {error}")
