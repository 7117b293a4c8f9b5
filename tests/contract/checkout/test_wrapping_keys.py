"""The wrapping keys of personal data, for each adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from checkout.aws.json_client import AwsJsonClient, open_json_client
from checkout.ports.keys import DataKey, KeysRefused, KeysUnavailable, WrappingKeys, wrapping_key_of
from checkout.privacy.file_keys import FileKeys
from checkout.privacy.key_file import new_key_file, new_name, replace_key_file
from checkout.privacy.kms_keys import KmsKeys, open_kms_keys
from checkout.privacy.memory_keys import MemoryKeys

DAY = "20261127"


class Case(NamedTuple):
    keys: WrappingKeys
    # Make another key the current one, without telling `keys`.
    rotate: Callable[[], None]
    # Take away a key by its name.
    lose: Callable[[str], None] | None


@pytest.fixture(params=["memory", "file", "kms"])
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    if request.param == "memory":
        memory = MemoryKeys()
        yield Case(memory, memory.rotate, memory.lose)
    elif request.param == "file":
        yield _file_case(tmp_path / "keys.toml")
    else:
        endpoint: str = request.getfixturevalue("sqs_endpoint")
        async with open_json_client("kms", endpoint_url=endpoint, region="eu-west-2") as client:
            yield await _kms_case(client)


def _file_case(path: Path) -> Case:
    content = new_key_file(DAY)
    replace_key_file(path, content)
    keys = FileKeys(path, content)

    def write(changed: object) -> None:
        nonlocal content
        content = changed  # type: ignore[assignment]
        replace_key_file(path, content)
        keys.reread()

    def rotate() -> None:
        write(content.with_key(new_name(DAY), bytes(range(32)), is_current=True))

    def lose(name: str) -> None:
        left = {each: key for each, key in content.keys.items() if f"file.{each}" != name}
        write(type(content)(content.index, next(iter(left)), left))

    return Case(keys, rotate, lose)


class _KmsKeys:
    """`KmsKeys` of the key that is named last, as a process has it that was started with another `--kms-key`."""

    def __init__(self, client: AwsJsonClient, keys: list[str]) -> None:
        self._client = client
        self._keys = keys

    @property
    def _own(self) -> KmsKeys:
        return KmsKeys(self._client, self._keys[-1])

    @property
    def current(self) -> str:
        return self._own.current

    async def new_data_key(self) -> DataKey:
        return await self._own.new_data_key()

    async def unwrap(self, wrapped: str) -> bytes:
        return await self._own.unwrap(wrapped)


async def _kms_case(client: AwsJsonClient) -> Case:
    first, second = [(await client.call("CreateKey", {}))["KeyMetadata"] for _ in range(2)]
    keys = [first["Arn"]]
    return Case(_KmsKeys(client, keys), lambda: keys.append(second["KeyId"]), None)


async def test_a_data_key_is_unwrapped_to_its_secret(case: Case) -> None:
    key = await case.keys.new_data_key()
    assert len(key.secret) == 32
    assert await case.keys.unwrap(key.wrapped) == key.secret


async def test_no_two_data_keys_are_the_same_and_none_shows_its_secret(case: Case) -> None:
    one, other = await case.keys.new_data_key(), await case.keys.new_data_key()
    assert one.secret != other.secret
    assert one.wrapped != other.wrapped
    assert repr(one) == f"DataKey(wrapped by {case.keys.current})"


async def test_a_wrapped_key_names_the_key_that_wraps_it(case: Case) -> None:
    assert wrapping_key_of((await case.keys.new_data_key()).wrapped) == case.keys.current


async def test_after_a_rotation_new_data_keys_have_the_new_key_and_old_ones_are_unwrapped(case: Case) -> None:
    before, old = case.keys.current, await case.keys.new_data_key()
    case.rotate()
    assert case.keys.current != before
    assert wrapping_key_of((await case.keys.new_data_key()).wrapped) == case.keys.current
    assert await case.keys.unwrap(old.wrapped) == old.secret


async def test_a_key_that_is_gone_is_named(case: Case) -> None:
    if case.lose is None:
        pytest.skip("the stand-in of KMS unwraps with deleted keys too")
    name, old = case.keys.current, await case.keys.new_data_key()
    case.rotate()
    case.lose(name)
    with pytest.raises(KeysUnavailable, match=name.rpartition(".")[2]):
        await case.keys.unwrap(old.wrapped)


# KMS only


async def test_kms_does_not_unwrap_a_data_key_under_another_name(sqs_endpoint: str) -> None:
    async with open_json_client("kms", endpoint_url=sqs_endpoint, region="eu-west-2") as client:
        arn = (await client.call("CreateKey", {}))["KeyMetadata"]["Arn"]
        keys = KmsKeys(client, arn)
        name, _, blob = (await keys.new_data_key()).wrapped.rpartition("-")
        with pytest.raises(KeysUnavailable, match="Decrypt"):
            await keys.unwrap(f"{name[:-1]}{'0' if name[-1] != '0' else '1'}-{blob}")


async def test_a_kms_key_that_is_not_there_is_refused_and_a_service_that_is_away_is_not(sqs_endpoint: str) -> None:
    async with open_kms_keys("alias/nobody", endpoint_url=sqs_endpoint, region="eu-west-2") as keys:
        assert keys.current == "kms.alias-nobody"
        with pytest.raises(KeysRefused, match="NotFound"):
            await keys.new_data_key()
    async with open_kms_keys("alias/nobody", endpoint_url="http://127.0.0.1:9", region="eu-west-2") as keys:
        with pytest.raises(KeysUnavailable, match="cannot be reached") as caught:
            await keys.new_data_key()
        assert not isinstance(caught.value, KeysRefused)
