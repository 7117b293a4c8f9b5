"""The keys of personal data at the start: made once, the same for all gateways of a store, and none may be missing."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cart.ids import new_cart_id, order_id_for
from checkout.aws.json_client import open_json_client
from checkout.ports.keys import wrapping_key_of
from checkout.privacy.key_file import KeyFile, new_key_file, read_key_file, replace_key_file
from gateway.compose.privacy import Privacy, open_privacy
from gateway.prerequisites import CannotStart
from gateway.settings import Settings
from store import Client

ORDER = order_id_for(new_cart_id(), 1)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def content_of(settings: Settings) -> KeyFile:
    content = read_key_file(settings.key_file_path)
    assert content is not None
    return content


async def seal(privacy: Privacy) -> str:
    return (await privacy.sealer.seal(ORDER, b"text")).key


async def test_the_first_start_makes_the_key_file_and_the_next_ones_use_it(
    settings: Settings, store: Client, stack: AsyncExitStack
) -> None:
    first = await open_privacy(settings, store, stack)
    path = settings.key_file_path
    assert (path.name, stat.S_IMODE(path.stat().st_mode)) == ("keys.toml", 0o600)
    second = await open_privacy(settings, store, stack)
    sealed = await first.sealer.seal(ORDER, b"text")
    assert await second.sealer.open(ORDER, sealed) == b"text"
    assert second.pseudonyms.of_email("ada@example.com") == first.pseudonyms.of_email("ada@example.com")


async def test_a_gateway_without_the_key_file_of_its_store_does_not_start(
    settings: Settings, store: Client, stack: AsyncExitStack, tmp_path: Path
) -> None:
    await open_privacy(settings, store, stack)
    elsewhere = Settings(data_dir=tmp_path / "elsewhere")
    with pytest.raises(CannotStart, match="there is no key file"):
        await open_privacy(elsewhere, store, stack)
    assert not elsewhere.key_file_path.exists()
    replace_key_file(tmp_path / "other.toml", new_key_file("20261127"))
    with pytest.raises(CannotStart, match="is not that of the store"):
        await open_privacy(Settings(data_dir=tmp_path, key_file=tmp_path / "other.toml"), store, stack)


async def test_a_key_that_is_missing_in_the_file_is_named(
    settings: Settings, store: Client, stack: AsyncExitStack
) -> None:
    await open_privacy(settings, store, stack)
    content = content_of(settings)
    rotated = content.with_key("later", bytes(32), is_current=True)
    replace_key_file(settings.key_file_path, KeyFile(content.index, "later", {"later": rotated.keys["later"]}))
    with pytest.raises(CannotStart, match=f"lacks file.{content.current}"):
        await open_privacy(settings, store, stack)
    replace_key_file(settings.key_file_path, rotated)
    await open_privacy(settings, store, stack)


async def test_a_running_process_takes_a_new_key_from_the_file(
    settings: Settings, store: Client, stack: AsyncExitStack
) -> None:
    privacy = await open_privacy(settings, store, stack)
    old = await privacy.sealer.seal(ORDER, b"text")
    rotated = content_of(settings).with_key("later", bytes(32), is_current=True)
    replace_key_file(settings.key_file_path, rotated)
    assert privacy.file_keys.reread()
    assert wrapping_key_of(await seal(privacy)) == "file.later"
    assert await privacy.sealer.open(ORDER, old) == b"text"
    assert "file.later" in (await privacy.enter()).names


async def test_the_keys_of_a_store_that_was_emptied_are_entered_again(
    settings: Settings, store: Client, stack: AsyncExitStack
) -> None:
    privacy = await open_privacy(settings, store, stack)
    before = await privacy.registry.read()
    await store.execute("DEL", "privacy:keys")
    assert await privacy.enter() == before


async def test_kms_seals_new_data_and_that_of_the_key_file_is_still_read(
    settings: Settings, store: Client, stack: AsyncExitStack, sqs_endpoint: str
) -> None:
    old = await (await open_privacy(settings, store, stack)).sealer.seal(ORDER, b"text")
    async with open_json_client("kms", endpoint_url=sqs_endpoint, region="eu-west-2") as client:
        arn = (await client.call("CreateKey", {}))["KeyMetadata"]["Arn"]
    with_kms = Settings(data_dir=settings.data_dir, kms_key=arn, aws_endpoint_url=sqs_endpoint)
    privacy = await open_privacy(with_kms, store, stack)
    assert (await seal(privacy)).startswith(f"kms.{arn.rpartition('/')[2]}.")
    assert await privacy.sealer.open(ORDER, old) == b"text"
    with pytest.raises(CannotStart, match="name the KMS key with --kms-key"):
        await open_privacy(settings, store, stack)


async def test_a_kms_key_that_does_not_exist_is_a_fault_at_the_start(
    settings: Settings, store: Client, stack: AsyncExitStack, sqs_endpoint: str
) -> None:
    wrong = Settings(
        data_dir=settings.data_dir, kms_key="alias/nobody", aws_endpoint_url=sqs_endpoint, aws_region="eu-west-2"
    )
    with pytest.raises(CannotStart, match="--kms-key cannot be used: KMS refuses GenerateDataKey"):
        await open_privacy(wrong, store, stack)


async def test_a_gateway_starts_while_kms_is_away(
    settings: Settings, store: Client, stack: AsyncExitStack, aws_credentials: None, caplog: pytest.LogCaptureFixture
) -> None:
    away = Settings(
        data_dir=settings.data_dir, kms_key="alias/shop", aws_endpoint_url="http://127.0.0.1:9", aws_region="eu-west-2"
    )
    await open_privacy(away, store, stack)
    assert "orders are refused until there is one" in caplog.text
