"""The shipping service that the settings name."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from ipaddress import ip_address
from pathlib import Path

import aiohttp
from yarl import URL

from checkout.ports.services import Shipping
from checkout.shipping.http_shipping import HttpShipping
from checkout.shipping.sandbox import SandboxShipping
from gateway.prerequisites import CannotStart
from gateway.settings import Settings
from primitives.webhook_signature import InvalidWebhookSecret, WebhookSigner

_log = logging.getLogger(__name__)


def check_shipping(settings: Settings) -> None:
    """Check the settings of shipping and the files that they name, without a call to the service. Raises `CannotStart`."""
    if settings.works_orders:
        _shipping_key(settings)
    if settings.serves_shoppers:
        shipping_webhook_signer(settings)
    url = settings.shipping_url
    if (
        settings.shipping == "http"
        and url is not None
        and url.startswith("http://")
        and not _is_loopback(URL(url).host)
    ):
        _log.warning("--shipping-url: the addresses of shoppers are sent unencrypted, because it begins with http://")


async def open_shipping(settings: Settings, stack: AsyncExitStack) -> Shipping:
    """The shipping service of a process that works off orders. Raises `CannotStart`."""
    key = _shipping_key(settings)
    if key is None or settings.shipping_url is None:
        return SandboxShipping()
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=settings.order_concurrency),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
    return HttpShipping(await stack.enter_async_context(session), settings.shipping_url, key)


def shipping_webhook_signer(settings: Settings) -> WebhookSigner | None:
    """The secrets of the carrier's webhooks; None without such webhooks. Raises `CannotStart`."""
    path = settings.shipping_webhook_secret_file
    return None if path is None else _signer("--shipping-webhook-secret-file", path)


def _shipping_key(settings: Settings) -> WebhookSigner | None:
    """The key of requests to the service; None with the sandbox."""
    if settings.shipping == "sandbox":
        if settings.shipping_url is not None:
            raise CannotStart("--shipping-url is given, but orders are shipped by the sandbox: add --shipping http")
        return None
    if settings.shipping_url is None or settings.shipping_key_file is None:
        raise CannotStart("--shipping http needs --shipping-url and --shipping-key-file")
    return _signer("--shipping-key-file", settings.shipping_key_file)


def _signer(option: str, path: Path) -> WebhookSigner:
    try:
        return WebhookSigner.of_file(path.read_text("ascii"))
    except (OSError, UnicodeDecodeError, InvalidWebhookSecret) as error:
        fault = error.strerror if isinstance(error, OSError) else error
        if isinstance(error, UnicodeDecodeError):
            fault = "a webhook secret is not base64"
        raise CannotStart(f"{option} {path}: {fault}") from error


def _is_loopback(host: str | None) -> bool:
    try:
        return host is not None and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False
