"""The adapters of payment services over sockets: what reached the service, and what may have."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from benchmarks.upstreams.payment_server import serving
from benchmarks.upstreams.payment_stand_in import Fault, PaymentStandIn
from checkout.errors import Declined
from checkout.guarded import GuardedPayments
from checkout.payments.aiohttp_transport import MAX_BODY, AiohttpTransport
from checkout.payments.http import MAX_DETAIL, HttpPayments
from checkout.payments.payment import Payment
from checkout.payments.stripe import StripePayments
from checkout.ports.payments import PaymentFailed, PaymentNotRun, PaymentProvider, PaymentUnknown
from primitives.webhook_signature import WebhookSigner, new_secret
from tests.payments import SECRET
from tests.unit.checkout.fake_services import an_order
from tests.waiting import WITHIN_S

SIGNER = WebhookSigner(SECRET)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def adapter(name: str, session: aiohttp.ClientSession, url: str) -> PaymentProvider:
    transport = AiohttpTransport(session, f"{url}/")
    return StripePayments(transport, api_key="sk_test_1") if name == "stripe" else HttpPayments(transport, SIGNER)


@pytest.mark.parametrize("name", ["http", "stripe"])
async def test_an_order_is_authorised_captured_refunded_and_found(name: str, session: aiohttp.ClientSession) -> None:
    stand_in = PaymentStandIn(signer=None if name == "stripe" else SIGNER)
    async with serving(stand_in) as url:
        provider, order = adapter(name, session, url), an_order()
        payment = await provider.authorise(order, number=1, key=f"{order.id}:authorise-1")
        payment = await provider.capture(order, payment, key="c")
        payment = await provider.refund(order, payment, 300, refund_id="r1", key="r")
        assert await provider.look_up(order, None) == payment
    assert [entry.kind for entry in stand_in.ledger] == ["authorised", "captured", "refunded"]


async def test_a_service_that_is_not_there_was_not_reached(session: aiohttp.ClientSession) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(PaymentNotRun, match="was not reached"):
            await adapter("http", session, url).authorise(an_order(), number=1, key="k")


async def test_a_connection_that_is_lost_during_the_call_leaves_its_outcome_unknown(
    session: aiohttp.ClientSession,
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(PaymentUnknown, match="no response"):
            await adapter("http", session, f"http://{host}:{port}").authorise(an_order(), number=1, key="k")


async def _responding(chunks: list[bytes], session: aiohttp.ClientSession) -> object:
    """The look-up at a service that responds with these bytes, one after the other."""
    asked: list[bytes] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        found = await adapter("http", session, f"http://{host}:{port}").look_up(an_order(), None)
    assert b"Accept-Encoding: identity" in asked[0]
    return found


async def test_a_response_in_pieces_is_read_to_its_end(session: aiohttp.ClientSession) -> None:
    body = b'{"reference": "pay_1", "authorised": 1005}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    found = await _responding([head, *(body[at : at + 1] for at in range(len(body)))], session)
    assert found == Payment(reference="pay_1", authorised=1005)


async def test_a_response_without_an_end_is_not_read(session: aiohttp.ClientSession) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * MAX_BODY)
    with pytest.raises(PaymentUnknown, match="more than"):
        await _responding([head, bytes(2 * MAX_BODY)], session)


async def test_a_refusal_is_told_in_a_few_words_and_without_card_numbers(session: aiohttp.ClientSession) -> None:
    body = b'{"code": "declined", "detail": "card 4111111111111111 is stolen %s"}' % (b"x" * 1000)
    head = b"HTTP/1.1 402 Payment Required\r\nContent-Length: %d\r\n\r\n" % len(body)
    with pytest.raises(Declined) as refused:
        await _responding([head + body], session)
    assert "4111" not in refused.value.detail
    assert len(refused.value.detail) == MAX_DETAIL


@pytest.mark.parametrize(
    ("fault", "error"), [(Fault.HANGS, TimeoutError), (Fault.FAILS, PaymentFailed), (Fault.BUSY, PaymentNotRun)]
)
async def test_each_failure_of_the_service_is_told_apart(
    session: aiohttp.ClientSession, fault: Fault, error: type[Exception]
) -> None:
    class Guard:
        async def call(self, work):  # type: ignore[no-untyped-def]
            return await work()

    async with serving(PaymentStandIn(signer=SIGNER, fault=lambda _operation: fault)) as url:
        provider = GuardedPayments(
            adapter("http", session, url), Guard(), deadline_s=0.2 if fault is Fault.HANGS else WITHIN_S
        )
        with pytest.raises(error):
            await provider.authorise(an_order(), number=1, key="k")


async def test_a_request_with_another_signature_is_not_carried_out(session: aiohttp.ClientSession) -> None:
    stand_in = PaymentStandIn(signer=WebhookSigner(new_secret()))
    async with serving(stand_in) as url:
        with pytest.raises(PaymentNotRun, match="401"):
            await adapter("http", session, url).authorise(an_order(), number=1, key="k")
    assert not stand_in.ledger
