"""The tables `[[webhooks]]`: what is wrong with them, and the endpoints that they become."""

from __future__ import annotations

from pathlib import Path

import pytest
from standardwebhooks import Webhook

from checkout.events.sinks import EventSinks
from checkout.events.webhooks import ENDPOINT_DISABLED, Webhooks
from checkout.memory.webhooks import MemoryWebhooks
from gateway.config.file import ConfigError, read_text
from gateway.policies.webhook_endpoints import WebhookEndpoints
from primitives.webhook_signature import new_secret

TABLE = '[[webhooks]]\nname = "{name}"\nurl = "{url}"\nsecret_file = "{file}"\n{more}\n'


def table(file: Path, *, name: str = "crm", url: str = "https://crm.example/hook", more: str = "") -> str:
    return TABLE.format(name=name, url=url, file=file, more=more)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{new_secret()}\n")
    return path


def errors_of(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read_text(text)
    return "\n".join(refused.value.errors)


def test_a_table_becomes_an_endpoint_that_signs_with_every_secret_of_its_file(secret_file: Path) -> None:
    new, old = new_secret(), new_secret()
    secret_file.write_text(f"{new}\n{old}\n")
    policies = read_text(table(secret_file, more='types = ["shop.order.completed.v1"]\ntimeout_s = 5')).policies
    webhooks = Webhooks(MemoryWebhooks(clock_ms=lambda: 0.0), orders=None, sender=None)  # type: ignore[arg-type]
    sinks = EventSinks()
    endpoints = WebhookEndpoints(webhooks, sinks)
    endpoints.apply(endpoints.read(policies.webhooks))
    assert sinks.names == ("webhooks",)
    crm = webhooks.endpoints["crm"]
    assert (crm.url, crm.timeout_s, crm.allow_private) == ("https://crm.example/hook", 5.0, False)
    assert crm.takes("shop.order.completed.v1")
    assert not crm.takes("shop.order.cancelled.v1")
    headers = crm.signer.headers("m1", b"{}")
    for secret in (new, old):
        assert Webhook(secret).verify(b"{}", headers) == {}
    endpoints.apply([])
    assert not webhooks.endpoints
    assert "webhooks" not in sinks.names


def test_an_endpoint_without_types_takes_those_of_orders(secret_file: Path) -> None:
    webhooks = Webhooks(MemoryWebhooks(clock_ms=lambda: 0.0), orders=None, sender=None)  # type: ignore[arg-type]
    endpoints = WebhookEndpoints(webhooks, EventSinks())
    endpoints.apply(endpoints.read(read_text(table(secret_file)).policies.webhooks))
    assert webhooks.endpoints["crm"].takes("shop.order.refunded.v1")
    assert not webhooks.endpoints["crm"].takes(ENDPOINT_DISABLED)


def test_a_file_without_a_secret_is_an_error_that_does_not_repeat_it(secret_file: Path) -> None:
    secret_file.write_text("hunter2")
    errors = errors_of(table(secret_file))
    assert "webhooks" in errors
    assert "hunter2" not in errors
    assert "the file cannot be read" in errors_of(table(secret_file.with_name("missing")))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"url": "https://user:word@crm.example/"}, "must not hold a user or password"),
        ({"url": "ftp://crm.example/"}, "http:// or https://"),
        ({"name": "The CRM"}, "lower case"),
        ({"more": 'types = ["order.completed"]'}, "the type of an event"),
        ({"more": "timeout_s = 60"}, "timeout_s"),
    ],
)
def test_wrong_members_are_errors(secret_file: Path, change: dict[str, str], error: str) -> None:
    errors = errors_of(table(secret_file, **change))
    assert error in errors
    assert "word@" not in errors


def test_two_endpoints_of_one_name_are_an_error(secret_file: Path) -> None:
    assert "is the same as that of one above" in errors_of(table(secret_file) + table(secret_file))
