"""The keys of personal data: the key file, KMS, and the check that they are those of the store."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cart.timestamps import unix_ms
from checkout.ports.keys import KeysRefused, KeysUnavailable
from checkout.privacy.file_keys import KIND as FILE
from checkout.privacy.file_keys import FileKeys
from checkout.privacy.key_file import KeyFile, KeyFileUnusable, create_key_file, new_key_file, read_key_file
from checkout.privacy.keyring import Keyring
from checkout.privacy.order_codec import OrderCodec
from checkout.privacy.pseudonyms import Pseudonyms
from checkout.privacy.redis_key_registry import KeysInUse, RedisKeyRegistry
from checkout.privacy.sealer import Sealer
from gateway.prerequisites import CannotStart, StoreAddress, open_store
from gateway.settings import Settings
from primitives.rounds import try_round
from store import StoreClient, StoreError

if TYPE_CHECKING:
    from checkout.privacy.kms_keys import KmsKeys

# How soon a process uses a key that was added to the file.
WATCH_S: Final = 2.0
KMS: Final = "kms"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Privacy:
    """The parts of one process that seal and open personal data, and name shoppers by hashes."""

    codec: OrderCodec
    sealer: Sealer
    keyring: Keyring
    file_keys: FileKeys
    pseudonyms: Pseudonyms
    registry: RedisKeyRegistry

    async def watch(self) -> None:
        """Use keys that are added to the file, and keep the keys in use in a store that was emptied, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                if self.file_keys.reread():
                    _log.info("the key file was read again; new personal data is sealed with %s", self.keyring.current)
            except KeyFileUnusable as error:
                _log.warning("%s", error)
            await try_round("entering the keys in use", self.enter)

    async def enter(self) -> KeysInUse:
        """Enter the keys in use into the store. Raises the errors of the store."""
        return await self.registry.enter(self.pseudonyms.check, self.keyring.current, at=unix_ms())


async def open_privacy(settings: Settings, client: StoreClient, stack: AsyncExitStack) -> Privacy:
    """Open the keys, which are made at the very first start. Raises `CannotStart` if one is missing."""
    registry = RedisKeyRegistry(client)
    try:
        content = _key_file(settings, await registry.read())
        file_keys = FileKeys(settings.key_file_path, content)
        kms = None if settings.kms_key is None else await _open_kms(settings, settings.kms_key, stack)
        keyring = Keyring({FILE: file_keys} if kms is None else {FILE: file_keys, KMS: kms}, first=KMS if kms else FILE)
        sealer = Sealer(keyring)
        privacy = Privacy(OrderCodec(sealer), sealer, keyring, file_keys, Pseudonyms(content.index), registry)
        await _check(settings, privacy)
    except KeyFileUnusable as error:
        raise CannotStart(str(error)) from error
    except StoreError as error:
        raise CannotStart(f"the store does not answer as it should: {error}") from error
    return privacy


async def check_keys(settings: Settings, store: StoreAddress) -> None:
    """Make sure that personal data can be sealed, and that of the store be opened. Raises `CannotStart`."""
    async with AsyncExitStack() as stack:
        await open_privacy(settings, await open_store(store.url, stack), stack)


def _key_file(settings: Settings, used: KeysInUse) -> KeyFile:
    """The key file, which is made if the store has no sealed orders yet."""
    path = settings.key_file_path
    content = read_key_file(path)
    if content is not None:
        return content
    if used.index is not None:
        raise CannotStart(
            f"there is no key file {path}, but personal data in the store is sealed with {', '.join(used.names)}: "
            f"put the key file of this shop there, or name it with --key-file"
        )
    content = create_key_file(path, new_key_file(f"{datetime.now(UTC):%Y%m%d}"))
    # Beside an embedded store it is a part of the data directory, of which a copy has both.
    level = logging.DEBUG if settings.store_url is None else logging.INFO
    _log.log(level, "made the key file %s: keep a copy of it, apart from copies of the data", path)
    return content


async def _check(settings: Settings, privacy: Privacy) -> None:
    """Compare the keys with those that the store was sealed with, and try to make a data key."""
    path = settings.key_file_path
    used = await privacy.enter()
    if used.index != privacy.pseudonyms.check:
        raise CannotStart(
            f"the key file {path} is not that of the store: its `index` is another one. All gateways of a store "
            f"need the same key file; name it with --key-file"
        )
    missing = [name for name in used.names if name.startswith(f"{FILE}.") and name not in privacy.file_keys.names]
    if missing:
        raise CannotStart(
            f"the key file {path} lacks {', '.join(missing)}, which personal data in the store is sealed with: "
            f"add it from a copy of the file"
        )
    if settings.kms_key is None and any(name.startswith(f"{KMS}.") for name in used.names):
        raise CannotStart(
            f"personal data in the store is sealed with {', '.join(used.names)}: name the KMS key with --kms-key, "
            f"or bring all orders under the key file first (peakgate privacy rotate)"
        )
    try:
        await privacy.sealer.ready()
    except KeysRefused as error:
        raise CannotStart(f"--kms-key cannot be used: {error}") from error
    except KeysUnavailable as error:
        # It may be back before the first order.
        _log.warning("no data key for personal data yet; orders are refused until there is one: %s", error)


async def _open_kms(settings: Settings, key: str, stack: AsyncExitStack) -> KmsKeys:
    try:
        from checkout.privacy.kms_keys import open_kms_keys  # slow to import, and with the libraries of an extra
    except ModuleNotFoundError as error:
        raise CannotStart(
            f"--kms-key needs the client library of AWS ({error.name} is not installed): "
            f"pip install 'peakgate[aws]', or make install-aws in a clone"
        ) from error
    opening = open_kms_keys(key, endpoint_url=settings.aws_endpoint_url, region=settings.aws_region)
    try:
        return await stack.enter_async_context(opening)
    except ValueError as error:
        raise CannotStart(f"--kms-key cannot be used: {error}") from error
