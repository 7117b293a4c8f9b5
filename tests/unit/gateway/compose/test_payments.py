"""The payment service that the settings name."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from checkout.payments.http import HttpPayments, HttpPaymentWebhooks
from checkout.payments.sandbox import SandboxPayments
from checkout.payments.stripe import StripePayments
from checkout.payments.stripe_webhooks import StripeWebhooks
from gateway.compose.payments import check_payments, open_payments, payment_webhooks
from gateway.prerequisites import CannotStart
from gateway.settings import Settings
from primitives.webhook_signature import new_secret

URL = "https://payments.example.com/peakgate"
NONE = Path("/nowhere/key")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{new_secret()}\n")
    return path


@pytest.fixture
def stripe_key(tmp_path: Path) -> Path:
    path = tmp_path / "stripe"
    path.write_text("rk_test_1\n")
    return path


async def test_orders_are_paid_in_the_sandbox_unless_a_service_is_named(key_file: Path, stripe_key: Path) -> None:
    async with AsyncExitStack() as stack:
        assert isinstance(await open_payments(Settings(), stack), SandboxPayments)
        service = Settings(payment="http", payment_url=URL, payment_key_file=key_file)
        assert isinstance(await open_payments(service, stack), HttpPayments)
        stripe = Settings(payment="stripe", payment_key_file=stripe_key)
        assert isinstance(await open_payments(stripe, stack), StripePayments)


def test_webhooks_are_read_if_they_have_a_secret(key_file: Path) -> None:
    assert payment_webhooks(Settings()) is None
    reader = payment_webhooks(Settings(payment_webhook_secret_file=key_file))
    assert isinstance(reader, HttpPaymentWebhooks)
    reader = payment_webhooks(Settings(payment="stripe", payment_webhook_secret_file=key_file))
    assert isinstance(reader, StripeWebhooks)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"payment": "http"}, "--payment http needs --payment-url and --payment-key-file"),
        ({"payment": "http", "payment_url": URL}, "--payment http needs --payment-url and --payment-key-file"),
        ({"payment": "stripe"}, "--payment stripe needs --payment-key-file"),
        ({"payment_url": URL}, "add --payment"),
        ({"payment_key_file": NONE}, "add --payment"),
        ({"payment": "stripe", "payment_key_file": NONE}, "--payment-key-file /nowhere/key: No such file"),
        ({"payment_webhook_secret_file": NONE}, "--payment-webhook-secret-file /nowhere/key: No such file"),
    ],
)
def test_a_start_with_half_of_the_settings_says_what_is_missing(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(CannotStart, match=fault):
        check_payments(Settings(**settings))


def test_an_unencrypted_address_of_another_machine_is_refused(key_file: Path) -> None:
    settings: dict[str, Any] = {"payment": "http", "payment_key_file": key_file}
    with pytest.raises(CannotStart, match="http://"):
        check_payments(Settings(payment_url="http://payments.example.com", **settings))
    for local in ("http://localhost:4242", "http://127.0.0.1:4242", "http://[::1]:4242"):
        check_payments(Settings(payment_url=local, **settings))


@pytest.mark.parametrize("text", ["", "pk_live_1", "sk_live_1 sk_live_2", "sesame", "\xff"])
def test_a_key_of_stripe_that_is_none_is_refused_without_being_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text, "latin-1")
    with pytest.raises(CannotStart, match="--payment-key-file") as refused:
        check_payments(Settings(payment="stripe", payment_key_file=path))
    assert not text or text not in str(refused.value)


@pytest.mark.parametrize("payment", ["http", "stripe"])
def test_a_webhook_secret_that_is_none_is_refused(tmp_path: Path, payment: Any) -> None:
    path = tmp_path / "secret"
    path.write_text("sesame")
    with pytest.raises(CannotStart, match="--payment-webhook-secret-file") as refused:
        payment_webhooks(Settings(payment=payment, payment_webhook_secret_file=path))
    assert "sesame" not in str(refused.value)


def test_an_edge_needs_no_key_of_the_service(key_file: Path) -> None:
    check_payments(Settings(role="edge", payment="http", payment_url=URL))
    check_payments(Settings(role="worker", payment_webhook_secret_file=NONE))
