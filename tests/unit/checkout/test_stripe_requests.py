"""The requests to Stripe, and the signatures of its webhooks, against the official library as the oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from cart.errors import InvalidBody
from checkout.errors import WebhookNotSigned
from checkout.facts import PaymentFact
from checkout.order import Order
from checkout.payments.payment import Payment
from checkout.payments.stripe import API_VERSION, StripePayments
from checkout.payments.stripe_webhooks import TOLERANCE_S, StripeWebhooks
from checkout.payments.transport import Reply
from checkout.ports.payments import PaymentFailed, PaymentNotRun, PaymentUnknown
from tests.unit.checkout.fake_services import an_order

API_KEY = "sk_test_oracle"
SECRET = "whsec_of_the_oracle"
NOW_S = 1_795_000_000
PAYMENT = Payment(reference="pi_1", authorised=1005)
INTENT = {"id": "pi_1", "object": "payment_intent", "status": "requires_capture", "amount": 1005, "created": NOW_S}


class Sent(msgspec.Struct, frozen=True):
    """A request, in a form in which two can be compared."""

    method: str
    path: str
    parameters: dict[str, str]
    authorization: str
    version: str
    content_type: str | None
    key: str | None


def sent(method: str, path: str, headers: Mapping[str, str], body: str) -> Sent:
    names = {name.lower(): value for name, value in headers.items()}
    url = urlsplit(path)
    return Sent(
        method.upper(),
        url.path,
        dict(parse_qsl(body or url.query)),
        names["authorization"],
        names["stripe-version"],
        names.get("content-type") if method.upper() == "POST" else None,
        names.get("idempotency-key") if method.upper() == "POST" else None,
    )


class Recorder:
    """A `Transport` that records requests and gives one response to all."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.requests: list[Sent] = []
        self.reply = reply or Reply(200, {}, msgspec.json.encode(INTENT | {"data": []}))

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        self.requests.append(sent(method, path, headers, body.decode()))
        return self.reply


class OracleClient(stripe.HTTPClient):
    """The transport of the official library, which records its requests."""

    name = "recorder"

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Sent] = []

    def request(
        self, method: str, url: str, headers: Any, post_data: Any = None, *, _usage: list[str] | None = None
    ) -> tuple[str, int, Any]:
        self.requests.append(sent(method, url.removeprefix("https://api.stripe.com"), headers, post_data or ""))
        return msgspec.json.encode(INTENT).decode(), 200, {}

    def close(self) -> None:
        """Nothing is open."""


def oracle() -> tuple[Any, OracleClient]:
    client = OracleClient()
    return stripe.StripeClient(API_KEY, http_client=client).v1, client


def _create(order: Order, **members: Any) -> dict[str, Any]:
    return {
        "amount": order.total,
        "currency": "gbp",
        "capture_method": "manual",
        "confirm": True,
        "error_on_requires_action": True,
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "metadata": {"order_id": order.id, "authorisation": "1"},
        "expand": ["latest_charge"],
    } | members


CALLS: dict[str, tuple[Callable[[StripePayments, Order], Any], Callable[[Any, Order, Any], Any]]] = {
    "authorise": (
        lambda ours, order: ours.authorise(order, number=1, key="k1"),
        lambda api, order, key: api.payment_intents.create(_create(order, payment_method="tok_ok"), key),
    ),
    "capture": (
        lambda ours, order: ours.capture(order, PAYMENT, key="k1"),
        lambda api, order, key: api.payment_intents.capture("pi_1", {"expand": ["latest_charge"]}, key),
    ),
    "void": (
        lambda ours, order: ours.void(order, PAYMENT, key="k1"),
        lambda api, order, key: api.payment_intents.cancel("pi_1", {"expand": ["latest_charge"]}, key),
    ),
    "refund": (
        lambda ours, order: ours.refund(order, PAYMENT, 300, refund_id="r1", key="k1"),
        lambda api, order, key: api.refunds.create(
            {"payment_intent": "pi_1", "amount": 300, "metadata": {"order_id": order.id, "refund_id": "r1"}}, key
        ),
    ),
    "look up by reference": (
        lambda ours, order: ours.look_up(order, "pi_1"),
        lambda api, order, key: api.payment_intents.retrieve("pi_1", {"expand": ["latest_charge"]}),
    ),
    "look up by order": (
        lambda ours, order: ours.look_up(order, None),
        lambda api, order, key: api.payment_intents.search(
            {"query": f"metadata['order_id']:'{order.id}'", "expand": ["data.latest_charge"]}
        ),
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_request_is_that_of_the_official_library(name: str) -> None:
    ours, theirs = CALLS[name]
    order, transport = an_order(), Recorder()
    api, client = oracle()

    await ours(StripePayments(transport, api_key=API_KEY), order)
    theirs(api, order, {"idempotency_key": "k1"})

    (request,) = transport.requests
    (expected,) = client.requests
    # The library encodes the first element of a list with its index; Stripe reads both.
    parameters = {name.replace("[0]", "[]"): value for name, value in expected.parameters.items()}
    assert request == msgspec.structs.replace(expected, parameters=parameters)


async def test_a_confirmation_token_has_its_own_parameter() -> None:
    order, transport = an_order(token="ctoken_1"), Recorder()
    api, client = oracle()

    await StripePayments(transport, api_key=API_KEY).authorise(order, number=1, key="k1")
    api.payment_intents.create(_create(order, confirmation_token="ctoken_1"), {"idempotency_key": "k1"})

    assert transport.requests[0].parameters["confirmation_token"] == "ctoken_1"
    assert transport.requests[0].parameters.keys() == {
        name.replace("[0]", "[]") for name in client.requests[0].parameters
    }


def test_the_version_is_that_of_the_library_in_the_tests() -> None:
    assert stripe.api_version == API_VERSION


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(500, {}, b"{}"), PaymentFailed),
        (Reply(409, {}, b"{}"), PaymentUnknown),
        (Reply(429, {}, b"{}"), PaymentNotRun),
        (Reply(401, {}, b"{}"), PaymentNotRun),
        (Reply(400, {}, b'{"error":{"type":"invalid_request_error","param":"currency"}}'), PaymentNotRun),
        (Reply(400, {}, b"<html>"), PaymentUnknown),
        (Reply(200, {}, b"<html>"), PaymentUnknown),
        (Reply(200, {}, msgspec.json.encode(INTENT | {"status": "processing"})), PaymentUnknown),
    ],
)
async def test_a_response_that_says_nothing_about_the_payment_declines_no_order(
    reply: Reply, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await StripePayments(Recorder(reply), api_key=API_KEY).authorise(an_order(), number=1, key="k")


@pytest.mark.parametrize("reference", ["pi_1", None])
@pytest.mark.parametrize("body", [b"<html>", b"{}", b"null"])
async def test_a_look_up_with_an_unreadable_response_finds_out_nothing(body: bytes, reference: str | None) -> None:
    with pytest.raises(PaymentUnknown):
        await StripePayments(Recorder(Reply(200, {}, body)), api_key=API_KEY).look_up(an_order(), reference)


# --- webhooks


def event(order_id: str | None = "o1", kind: str = "payment_intent.succeeded", **members: Any) -> bytes:
    metadata = {} if order_id is None else {"order_id": order_id}
    content = {"id": "pi_1", "amount": 1005, "amount_received": 1005, "metadata": metadata, "charges": [1]} | members
    return msgspec.json.encode(
        {"id": "evt_1", "object": "event", "type": kind, "created": NOW_S, "data": {"object": content}}
    )


def signed(body: bytes, *, secret: str = SECRET, at: int = NOW_S) -> dict[str, str]:
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at)
    return {"stripe-signature": header}


def webhooks(*secrets: str, now_s: float = NOW_S) -> StripeWebhooks:
    return StripeWebhooks(*secrets or (SECRET,), clock=lambda: now_s)


@given(st.text(max_size=100))
def test_a_webhook_that_the_library_signs_is_accepted(text: str) -> None:
    body = event(description=text)
    assert webhooks().read(signed(body), body) is not None


def test_a_report_is_a_fact_about_its_order() -> None:
    body = event()
    notice = webhooks().read(signed(body), body)
    assert notice is not None
    assert notice.order_id == "o1"
    assert notice.fact == PaymentFact(
        id="payment:evt_1", at=NOW_S * 1000, became="captured", amount=1005, reference="pi_1"
    )


def test_a_refund_names_the_payment_and_the_total_that_came_back() -> None:
    body = event(kind="charge.refunded", id="ch_1", payment_intent="pi_1", amount_refunded=300)
    notice = webhooks().read(signed(body), body)
    assert notice is not None
    assert (notice.fact.became, notice.fact.amount, notice.fact.reference) == ("refunded", 300, "pi_1")


def test_a_cancellation_by_time_is_an_authorisation_that_ran_out() -> None:
    body = event(kind="payment_intent.canceled", cancellation_reason="automatic")
    notice = webhooks().read(signed(body), body)
    assert notice is not None
    assert notice.fact.became == "expired"


@pytest.mark.parametrize(
    "body", [event(kind="payout.paid"), event(order_id=None), event(metadata={"order_id": "o1", "claim": "true"})]
)
def test_an_event_that_is_not_about_a_payment_of_the_shop_is_ignored(body: bytes) -> None:
    assert webhooks().read(signed(body), body) is None


def test_each_of_several_secrets_is_accepted() -> None:
    body = event()
    both = webhooks("whsec_new", SECRET)
    assert both.read(signed(body), body) is not None
    assert both.read(signed(body, secret="whsec_new"), body) is not None


@pytest.mark.parametrize("late_s", [-TOLERANCE_S - 1, TOLERANCE_S + 1])
def test_a_webhook_of_another_time_is_refused(late_s: int) -> None:
    body = event()
    with pytest.raises(WebhookNotSigned, match="too old or too new"):
        webhooks(now_s=NOW_S + late_s).read(signed(body), body)
    assert webhooks(now_s=NOW_S + (TOLERANCE_S if late_s > 0 else -TOLERANCE_S)).read(signed(body), body) is not None


@pytest.mark.parametrize(
    "header",
    ["", "t=1", "v1=aa", f"t={NOW_S},v1=aa", f"t={NOW_S},v0={'0' * 64}", f"t={'9' * 30},v1=aa", "t=\udcff,v1=\udcff"],
)
def test_a_signature_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(WebhookNotSigned):
        webhooks().read({"stripe-signature": header}, event())
    with pytest.raises(WebhookNotSigned):
        webhooks().read({}, event())


def test_another_body_or_secret_is_refused_as_the_library_refuses_it() -> None:
    body = event()
    for headers, content in ((signed(body), event(amount_received=1)), (signed(body, secret="whsec_x"), body)):
        with pytest.raises(WebhookNotSigned):
            webhooks().read(headers, content)
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(content, headers["stripe-signature"], SECRET)


def test_a_signed_body_that_is_no_event_is_invalid() -> None:
    for body in (b"[]", b'{"id": "evt_1", "type": "charge.refunded"}'):
        with pytest.raises(InvalidBody):
            webhooks().read(signed(body), body)
