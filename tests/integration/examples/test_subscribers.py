"""The example programs that subscribe: they verify, handle each event once, and write what they are for."""

from __future__ import annotations

import argparse
import email
import importlib
import json
import smtplib
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest

from checkout.events.event_message import event_id, order_event
from checkout.order import Order
from checkout.order_status import NEXT, CancelReason, OrderStatus
from primitives.webhook_signature import WebhookSigner, new_secret
from tests.unit.checkout.fake_services import an_order

FOLDER = Path(__file__).parents[3] / "examples" / "subscribers"
SECRET, OLD_SECRET = new_secret(), new_secret()


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in ("subscriber", "mail", "notification_email", "invoice", "feedback_request"):
        sys.modules.pop(name, None)


class FakeOrders:
    def __init__(self, *orders: Order) -> None:
        self.by_id: dict[str, Any] = {order.id: json.loads(order.to_json()) for order in orders}
        self.is_away = False

    def read(self, order_id: str) -> Any:
        if self.is_away:
            raise ConnectionError("the gateway is away")
        return self.by_id[order_id]


class Running:
    """One of the programs, with a server in a thread."""

    def __init__(self, program: str, out: Path, orders: FakeOrders, *, smtp: str | None = None) -> None:
        module, base = load(program), load("subscriber")
        types = frozenset(module.TEXTS) if program == "notification_email" else module.TYPES
        handle = module.handler(argparse.Namespace(out=out, smtp=smtp))
        subscriber = base.Subscriber([SECRET, OLD_SECRET], types, handle, orders, str(out / "seen.sqlite"))
        self.server = base.serve(subscriber, ("127.0.0.1", 0))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def send(self, order: Order, number: int, *, secret: str = SECRET) -> int:
        body = order_event(order, number)
        headers = WebhookSigner(secret).headers(event_id(order, number), body)
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.server.server_address[1]}/", body, headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


def delivered() -> Order:
    order = an_order()
    for status in (*NEXT.values(), OrderStatus.SHIPPED, OrderStatus.DELIVERED):
        order = order.moved(status, at=order.updated_at + 1)
    return order.noted(at=order.updated_at, refunded=255)


def mails_in(folder: Path) -> list[EmailMessage]:
    return [email.message_from_bytes(path.read_bytes(), policy=policy.default) for path in sorted(folder.glob("*.eml"))]


def test_a_shopper_is_mailed_once_for_each_event_that_matters(tmp_path: Path) -> None:
    order = delivered()
    program = Running("notification_email", tmp_path, FakeOrders(order))
    try:
        for _ in range(2):
            for number in range(1, len(order.history) + 1):
                assert program.send(order, number) == 204
    finally:
        program.close()
    mails = mails_in(tmp_path)
    assert [mail["Subject"] for mail in mails] == [
        f"We have your order {order.number}",
        f"Your order {order.number} is on its way",
        f"A refund for your order {order.number}",
    ]
    assert all(mail["To"] == "ada@example.com" for mail in mails)
    assert "paid back 2.55 GBP" in mails[2].get_content()
    assert mails[0]["Message-ID"] == f"<{order.id}-1@shop.example>"


def test_a_message_that_is_not_signed_is_refused(tmp_path: Path) -> None:
    order = an_order()
    program = Running("notification_email", tmp_path, FakeOrders(order))
    try:
        assert program.send(order, 1, secret=new_secret()) == 401
        assert not mails_in(tmp_path)
        assert program.send(order, 1, secret=OLD_SECRET) == 204
    finally:
        program.close()
    assert len(mails_in(tmp_path)) == 1


def test_an_event_that_was_not_handled_is_handled_when_it_comes_again(tmp_path: Path) -> None:
    order = an_order()
    orders = FakeOrders(order)
    orders.is_away = True
    program = Running("notification_email", tmp_path, orders)
    try:
        assert program.send(order, 1) == 500
        orders.is_away = False
        assert program.send(order, 1) == 204
    finally:
        program.close()
    assert len(mails_in(tmp_path)) == 1


def test_ids_are_remembered_over_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[EmailMessage] = []

    class FakeServer:
        def __init__(self, host: str, port: int, timeout: float) -> None:
            assert (host, port) == ("127.0.0.1", 1025)
            assert timeout

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def send_message(self, mail: EmailMessage) -> None:
            sent.append(mail)

    monkeypatch.setattr(smtplib, "SMTP", FakeServer)
    order = an_order().moved(OrderStatus.CANCELLED, at=2, reason=CancelReason.REQUESTED)
    for _ in range(2):
        program = Running("notification_email", tmp_path, FakeOrders(order), smtp="127.0.0.1:1025")
        try:
            assert program.send(order, 2) == 204
        finally:
            program.close()
    assert [mail["Subject"] for mail in sent] == [f"Your order {order.number} is cancelled"]


def test_an_invoice_is_written_for_a_completed_order(tmp_path: Path) -> None:
    order = delivered()
    program = Running("invoice", tmp_path, FakeOrders(order))
    try:
        for number in range(1, len(order.history) + 1):
            assert program.send(order, number) == 204
    finally:
        program.close()
    pages = list(tmp_path.glob("*.html"))
    assert [page.name for page in pages] == [f"{order.id}-5.html"]
    text = pages[0].read_text()
    assert f"Invoice {order.number}" in text
    assert "WHITE HANGING HEART T-LIGHT HOLDER" in text
    assert "10.05 GBP" in text


def test_feedback_is_asked_for_after_the_delivery_only(tmp_path: Path) -> None:
    order = delivered()
    program = Running("feedback_request", tmp_path, FakeOrders(order))
    try:
        for number in range(1, len(order.history) + 1):
            program.send(order, number)
            assert len(mails_in(tmp_path)) == (number >= 7)
    finally:
        program.close()
    assert mails_in(tmp_path)[0]["Subject"] == f"How was your order {order.number}?"
