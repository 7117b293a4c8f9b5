"""The payment service that the settings name."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from ipaddress import ip_address
from pathlib import Path

import aiohttp
from yarl import URL

from checkout.payments.aiohttp_transport import AiohttpTransport
from checkout.payments.http import HttpPayments, HttpPaymentWebhooks
from checkout.payments.sandbox import SandboxPayments
from checkout.payments.stripe import BASE_URL, StripePayments
from checkout.payments.stripe_webhooks import StripeWebhooks
from checkout.ports.payments import PaymentProvider, PaymentWebhooks
from gateway.config.secret_file import read_secret_file
from gateway.prerequisites import CannotStart
from gateway.settings import Settings
from primitives.webhook_signature import InvalidWebhookSecret, WebhookSigner

_log = logging.getLogger(__name__)

_KEY_PREFIXES = ("sk_", "rk_")


def check_payments(settings: Settings) -> None:
    """Check the settings of payments and the files that they name, without a call to the service. Raises `CannotStart`."""
    if settings.works_orders:
        _check_service(settings)
    if settings.serves_shoppers:
        payment_webhooks(settings)
    url = settings.payment_url
    if settings.payment != "sandbox" and url is not None and not _is_safe(URL(url)):
        raise CannotStart("--payment-url begins with http://: payments are sent encrypted, except to this machine")
    if settings.payment == "sandbox" and settings.works_orders and settings.shipping != "sandbox":
        _log.warning("orders are shipped for real and paid for in the sandbox: see --payment")


async def open_payments(settings: Settings, stack: AsyncExitStack) -> PaymentProvider:
    """The payment service of a process that works off orders. Raises `CannotStart`."""
    _check_service(settings)
    path = settings.payment_key_file
    if settings.payment == "sandbox" or path is None:
        return SandboxPayments()
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=settings.order_concurrency),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
    transport = AiohttpTransport(await stack.enter_async_context(session), settings.payment_url or BASE_URL)
    if settings.payment == "stripe":
        return StripePayments(transport, api_key=_stripe_key(path))
    return HttpPayments(transport, _signer("--payment-key-file", path))


def payment_webhooks(settings: Settings) -> PaymentWebhooks | None:
    """The reader of the payment service's webhooks; None without such webhooks. Raises `CannotStart`."""
    path = settings.payment_webhook_secret_file
    if path is None:
        return None
    option = "--payment-webhook-secret-file"
    if settings.payment != "stripe":
        return HttpPaymentWebhooks(_signer(option, path))
    secrets = _text(option, path).split()
    if not secrets or not all(secret.startswith("whsec_") for secret in secrets):
        raise CannotStart(f"{option} {path}: a webhook secret of Stripe begins with whsec_")
    return StripeWebhooks(*secrets)


def _check_service(settings: Settings) -> None:
    name, path = settings.payment, settings.payment_key_file
    if name == "sandbox":
        if path is not None or settings.payment_url is not None:
            raise CannotStart("a payment service is configured, but orders are paid in the sandbox: add --payment")
    elif path is None or (name == "http" and settings.payment_url is None):
        needed = "--payment-url and --payment-key-file" if name == "http" else "--payment-key-file"
        raise CannotStart(f"--payment {name} needs {needed}")
    elif name == "stripe":
        _stripe_key(path)
    else:
        _signer("--payment-key-file", path)


def _stripe_key(path: Path) -> str:
    key = _text("--payment-key-file", path).strip()
    if not key.startswith(_KEY_PREFIXES) or len(key.split()) != 1:
        raise CannotStart(
            f"--payment-key-file {path}: a key of Stripe begins with sk_, or with rk_ if it is restricted"
        )
    return key


def _signer(option: str, path: Path) -> WebhookSigner:
    try:
        return WebhookSigner.of_file(_text(option, path))
    except InvalidWebhookSecret as error:
        raise CannotStart(f"{option} {path}: {error}") from error


def _text(option: str, path: Path) -> str:
    try:
        return read_secret_file(str(path)).decode("ascii")
    except OSError as error:
        raise CannotStart(f"{option} {path}: {error.strerror}") from error
    except UnicodeError:
        raise CannotStart(f"{option} {path}: it is not ASCII text") from None


def _is_safe(url: URL) -> bool:
    if url.scheme == "https" or url.host == "localhost":
        return True
    try:
        return ip_address(url.host or "").is_loopback
    except ValueError:
        return False
