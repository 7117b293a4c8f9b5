"""The shipping service that the settings name."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from checkout.shipping.http_shipping import HttpShipping
from checkout.shipping.sandbox import SandboxShipping
from gateway.compose.shipping import check_shipping, open_shipping, shipping_webhook_signer
from gateway.prerequisites import CannotStart
from gateway.settings import Settings
from primitives.webhook_signature import new_secret

URL = "https://fulfilment.example.com/peakgate"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{new_secret()}\n")
    return path


async def test_orders_are_shipped_by_the_sandbox_unless_a_service_is_named(key_file: Path) -> None:
    async with AsyncExitStack() as stack:
        assert isinstance(await open_shipping(Settings(), stack), SandboxShipping)
        service = Settings(shipping="http", shipping_url=URL, shipping_key_file=key_file)
        assert isinstance(await open_shipping(service, stack), HttpShipping)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"shipping": "http"}, "--shipping http needs --shipping-url and --shipping-key-file"),
        ({"shipping": "http", "shipping_url": URL}, "--shipping http needs --shipping-url and --shipping-key-file"),
        ({"shipping_url": URL}, "add --shipping http"),
        (
            {"shipping": "http", "shipping_url": URL, "shipping_key_file": Path("/nowhere/key")},
            "--shipping-key-file /nowhere/key: No such file",
        ),
        ({"shipping_webhook_secret_file": Path("/nowhere/key")}, "--shipping-webhook-secret-file /nowhere/key"),
    ],
)
def test_a_start_with_half_of_the_settings_says_what_is_missing(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(CannotStart, match=fault):
        check_shipping(Settings(**settings))


@pytest.mark.parametrize("text", ["", "whsec_short", "sesame", "\xff"])
def test_a_key_that_is_none_is_refused_without_being_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text, "latin-1")
    with pytest.raises(CannotStart, match="--shipping-webhook-secret-file") as refused:
        shipping_webhook_signer(Settings(shipping_webhook_secret_file=path))
    assert not text or text not in str(refused.value)


def test_an_edge_needs_no_key_of_the_service(key_file: Path) -> None:
    check_shipping(Settings(role="edge", shipping="http", shipping_url=URL))
    check_shipping(Settings(role="worker", shipping_webhook_secret_file=key_file.parent / "none"))


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        (URL, False),
        ("http://127.0.0.1:8600", False),
        ("http://localhost:8600", False),
        ("http://[::1]:8600", False),
        ("http://fulfilment.internal", True),
    ],
)
def test_a_start_warns_of_a_service_that_gets_addresses_unencrypted(
    key_file: Path, caplog: pytest.LogCaptureFixture, url: str, warns: bool
) -> None:
    check_shipping(Settings(shipping="http", shipping_url=url, shipping_key_file=key_file))
    assert ("unencrypted" in caplog.text) == warns
