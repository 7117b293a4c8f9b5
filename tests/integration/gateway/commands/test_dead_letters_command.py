"""`peakgate orders dead`: what it prints, its exit codes, and a kill in the middle."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from checkout.aws.json_client import open_json_client
from checkout.dead_letter_desk import RunProgress
from checkout.ports.queue import Outgoing
from checkout.queues.redis_queue import BULK, DEAD, RedisQueue
from checkout.worker import OrderWorker
from gateway.cli.main import main
from gateway.commands.dead_letters import ProgressLines
from store import Client, open_client
from tests.unit.checkout.fake_services import FakeServices, an_order, message_of
from tests.waiting import until, wait_until

AWAY = "redis://127.0.0.1:1/0"


class Shop:
    """The store of a shop, and commands on it."""

    def __init__(self, url: str, read: Callable[[], tuple[str, str]]) -> None:
        self.url = url
        self._read = read

    def bury(self, messages: Sequence[Outgoing]) -> None:
        asyncio.run(self._bury(messages))

    async def _bury(self, messages: Sequence[Outgoing]) -> None:
        client = await open_client(self.url, deadline_s=5.0)
        await client.execute("FLUSHDB")
        await asyncio.gather(
            *(client.execute("XADD", DEAD, "*", "body", each.body, "attempts", 3, "reason", "odd") for each in messages)
        )
        await client.close()

    def queued(self) -> list[bytes]:
        async def read(client: Client) -> list[bytes]:
            return [fields[1] for _, fields in await client.execute("XRANGE", BULK, "-", "+")]

        async def run() -> list[bytes]:
            client = await open_client(self.url, deadline_s=5.0)
            found = await read(client)
            await client.close()
            return found

        return asyncio.run(run())

    def run(self, *words: str) -> tuple[int, str, str]:
        """The exit code, and what was printed on both streams."""
        code = main(["orders", "dead", *words, "--store-url", self.url])
        return code, *self._read()


@pytest.fixture
def shop(store_url: str, capfd: pytest.CaptureFixture[str]) -> Shop:
    def read() -> tuple[str, str]:
        out, err = capfd.readouterr()
        return out, err

    return Shop(store_url, read)


def test_letters_are_listed_for_people(shop: Shop) -> None:
    order = an_order()
    shop.bury([message_of(order), Outgoing(order.id, b"ada@example.com", "2")])

    code, out, err = shop.run("list")

    assert code == 0
    assert out.splitlines()[0].split() == ["ID", "SINCE", "ATTEMPTS", "ORDER", "REASON"]
    assert order.number in out
    assert "no order" in out
    assert "ada@" not in out
    assert err == "peakgate: 2 of 2 dead letters\n"
    assert "next page: --cursor " in shop.run("list", "--limit", "1")[2]


def test_letters_are_listed_and_shown_as_json(shop: Shop) -> None:
    order = an_order()
    shop.bury([message_of(order), Outgoing(order.id, b"ada@example.com", "2")])

    code, out, err = shop.run("list", "--json", "--limit", "1")
    assert code == 0, err
    page = json.loads(out)
    second = json.loads(shop.run("list", "--json", "--cursor", page["cursor"])[1])
    shown = json.loads(shop.run("show", page["letters"][0]["id"], "--json")[1])

    assert (page["count"], shown["order"], shown["number"], shown["reason"]) == (2, order.id, order.number, "odd")
    assert second["letters"][0]["bytes"] == 15
    code, out, _ = shop.run("show", second["letters"][0]["id"])
    assert code == 0
    assert "sha256" in out
    assert "ada@" not in out


def test_some_are_dropped_and_the_others_redriven(shop: Shop) -> None:
    messages = [message_of(an_order()) for _ in range(5)]
    shop.bury(messages)
    first = json.loads(shop.run("list", "--json")[1])["letters"][0]

    assert shop.run("drop", first["id"])[:2] == (0, "1 dead letters dropped, 4 left\n")
    assert shop.run("redrive", "--all")[:2] == (0, "4 dead letters redriven, 0 left\n")
    assert len(shop.queued()) == 4


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("redrive",), 64, "by their ids, or all of them by --all"),
        (("drop", "1-1", "--all"), 64, "not both"),
        (("show", "1-1"), 1, "there is no dead letter '1-1'"),
        (("redrive", "1-1"), 1, "name no dead letter now"),
        (("list", "--cursor", "x"), 1, "the cursor is not that of a page of dead letters"),
    ],
)
def test_what_cannot_be_done_is_one_line(shop: Shop, words: Sequence[str], code: int, line: str) -> None:
    shop.bury([])
    result, _, err = shop.run(*words)
    assert result == code
    assert line in err
    assert err.count("\n") == 1


def test_a_store_that_is_away_is_69(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["orders", "dead", "list", "--store-url", AWAY]) == 69
    assert capfd.readouterr().err.count("\n") == 1


def test_a_redrive_that_was_killed_is_finished_by_another(shop: Shop) -> None:
    messages = [message_of(an_order()) for _ in range(300)]
    shop.bury(messages)
    command = [sys.executable, "-m", "gateway", "orders", "dead", "redrive", "--all", "--rate", "50"]
    with subprocess.Popen([*command, "--store-url", shop.url]) as process:
        wait_until(lambda: len(shop.queued()) > 20)
        process.send_signal(signal.SIGKILL)
    moved = len(shop.queued())
    assert 20 < moved < 300

    assert shop.run("redrive", "--all", "--rate", "100000")[0] == 0
    assert shop.run("redrive", "--all")[:2] == (0, "0 dead letters redriven, 0 left\n")

    assert sorted(shop.queued()) == sorted(message.body for message in messages)


def test_a_redrive_that_is_interrupted_says_how_far_it_was(shop: Shop) -> None:
    shop.bury([message_of(an_order()) for _ in range(300)])
    command = [sys.executable, "-m", "gateway", "orders", "dead", "redrive", "--all", "--rate", "50"]
    with subprocess.Popen([*command, "--store-url", shop.url], stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(shop.queued()) > 5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    assert "were redriven; run the command again for the others" in said


def _has_processed(worker: OrderWorker, count: int) -> bool:
    return worker.processed >= count and not worker.in_progress


async def test_orders_that_come_back_from_the_dead_twice_have_one_effect(store: Client, store_url: str) -> None:
    services = FakeServices()
    orders = [await services.accept() for _ in range(30)]
    # The message of each is dead twice, and is redriven while a worker runs, then again.
    blocking = await open_client(store_url, deadline_s=5.0)
    worker = OrderWorker(RedisQueue(store, blocking, consumer="one"), services.processor().process, wait_s=0.1)
    running = asyncio.create_task(worker.run())
    shop = Shop(store_url, lambda: ("", ""))
    for expected in (60, 120):
        for order in orders * 2:
            await store.execute("XADD", DEAD, "*", "body", message_of(order).body, "attempts", 3, "reason", "odd")
        assert await asyncio.to_thread(shop.run, "redrive", "--all") == (0, "", "")
        await until(partial(_has_processed, worker, expected))
    worker.stop()
    await running
    await blocking.close()
    assert services.captured() == sum(order.total for order in orders)
    assert services.sold() == sum(line.quantity for order in orders for line in order.lines)
    assert dict(services.notifications.notified) == {order.id: 1 for order in orders}


def test_progress_is_a_line_now_and_then_where_no_bar_can_be_drawn() -> None:
    lines: list[str] = []
    now = 0.0
    show = ProgressLines("redriven", lines.append, every_s=5.0, clock=lambda: now)
    for at, done in ((0.0, 0), (4.9, 10), (5.0, 20), (6.0, 30), (11.0, 40)):
        now = at
        show(RunProgress(done, 1_000))
    show(RunProgress(50, None))
    assert lines == ["20 of 1,000 redriven", "40 of 1,000 redriven"]


@pytest.mark.slow
def test_dead_letters_on_sqs(store_url: str, sqs_endpoint: str, capfd: pytest.CaptureFixture[str]) -> None:
    url = asyncio.run(_sqs_with_dead_letters(sqs_endpoint, 12))
    queue = [
        "--store-url",
        store_url,
        "--queue-url",
        url,
        "--aws-endpoint-url",
        sqs_endpoint,
        "--aws-region",
        "eu-west-2",
    ]
    assert main(["orders", "dead", "list", "--json", "--limit", "5", *queue]) == 0
    page = json.loads(capfd.readouterr().out)
    assert (page["count"], len(page["letters"]), page["letters"][0]["reason"]) == (12, 5, "odd")

    assert main(["orders", "dead", "drop", page["letters"][0]["id"], *queue]) == 0
    assert main(["orders", "dead", "redrive", "--all", *queue]) == 0

    assert capfd.readouterr().out == "1 dead letters dropped, 11 left\n11 dead letters redriven, 0 left\n"


async def _sqs_with_dead_letters(endpoint: str, count: int) -> str:
    async with open_json_client("sqs", endpoint_url=endpoint, region="eu-west-2") as client:
        dead = await client.call("CreateQueue", {"QueueName": "commands-dead"})
        about = await client.call("GetQueueAttributes", {"QueueUrl": dead["QueueUrl"], "AttributeNames": ["QueueArn"]})
        policy = {"deadLetterTargetArn": about["Attributes"]["QueueArn"], "maxReceiveCount": 1000}
        attributes = {"RedrivePolicy": json.dumps(policy)}
        queue = await client.call("CreateQueue", {"QueueName": "commands", "Attributes": attributes})
        reason = {"reason": {"DataType": "String", "StringValue": "odd"}}
        for _ in range(count):
            body = message_of(an_order()).body.decode()
            letter = {"QueueUrl": dead["QueueUrl"], "MessageBody": body, "MessageAttributes": reason}
            await client.call("SendMessage", letter)
        return str(queue["QueueUrl"])
