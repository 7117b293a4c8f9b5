"""A wrapping key in AWS KMS: https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateDataKey.html."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from checkout.aws.errors import AwsError, AwsRejected
from checkout.aws.json_client import AwsJsonClient, open_json_client
from checkout.ports.keys import DataKey, KeysRefused, KeysUnavailable

KIND: Final = "kms"
# A checkout waits no longer for its first data key.
DEADLINE_S: Final = 2.0
_REGION_OF_ARN: Final = re.compile(r"arn:[^:]+:kms:([^:]+):")


@asynccontextmanager
async def open_kms_keys(
    key: str, *, endpoint_url: str | None = None, region: str | None = None
) -> AsyncIterator[KmsKeys]:
    """The KMS key with this id, ARN or alias (`alias/peakgate`). No call is made. Raises `ValueError` if there is no Region."""
    found = _REGION_OF_ARN.match(key)
    opening = open_json_client("kms", endpoint_url=endpoint_url, region=found[1] if found else region)
    async with opening as client:
        yield KmsKeys(client, key)


class KmsKeys:
    """`WrappingKeys` of one KMS key; see `open_kms_keys`. Data keys of its predecessors are unwrapped as well.

    The encryption context of each call names the data key, so that the log of KMS shows each use. A data key is for many
    orders; the order id is bound to the sealed data (`checkout.privacy.sealer`).
    """

    def __init__(self, client: AwsJsonClient, key: str, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._client = client
        self._key = key
        self._random_bytes = random_bytes
        # Of an ARN its last part; the name of an alias begins with `alias-`.
        self._name = re.sub(r"[^0-9A-Za-z_-]", "-", key.rpartition(":")[2].removeprefix("key/"))

    @property
    def current(self) -> str:
        """See `WrappingKeys.current`."""
        return f"{KIND}.{self._name}"

    async def new_data_key(self) -> DataKey:
        """See `WrappingKeys.new_data_key`. One call to KMS."""
        data_key_id = self._random_bytes(8).hex()
        reply = await self._call(
            "GenerateDataKey",
            {"KeyId": self._key, "KeySpec": "AES_256", "EncryptionContext": _context(data_key_id)},
        )
        blob = base64.urlsafe_b64encode(base64.b64decode(reply["CiphertextBlob"])).decode()
        return DataKey(base64.b64decode(reply["Plaintext"]), f"{self.current}.{data_key_id}-{blob}")

    async def unwrap(self, wrapped: str) -> bytes:
        """See `WrappingKeys.unwrap`. One call to KMS; the wrapped key itself tells KMS which of its keys wrapped it."""
        data_key_id, _, blob = wrapped.rpartition(".")[2].partition("-")
        try:
            ciphertext = base64.b64encode(base64.urlsafe_b64decode(blob)).decode()
        except binascii.Error as error:
            raise KeysRefused(f"a data key of {KIND} is damaged: {error}") from error
        reply = await self._call("Decrypt", {"CiphertextBlob": ciphertext, "EncryptionContext": _context(data_key_id)})
        return base64.b64decode(reply["Plaintext"])

    async def _call(self, operation: str, parameters: dict[str, object]) -> dict[str, str]:
        try:
            return await self._client.call(operation, parameters, deadline_s=DEADLINE_S)
        except AwsRejected as error:
            refused = error.status < 500 and error.status != 429 and not error.code.startswith("Throttl")
            raise (KeysRefused if refused else KeysUnavailable)(f"KMS refuses {operation}: {error}") from error
        except AwsError as error:
            raise KeysUnavailable(f"KMS cannot be reached: {error}") from error


def _context(data_key_id: str) -> dict[str, str]:
    return {"peakgate:purpose": "personal data of orders", "peakgate:data-key": data_key_id}
