"""The differences between two sets of policies, key by key, for people who decide about a reload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.config.policies import Policies

# A key that one of the two lacks.
_ABSENT: Final = object()
# Rows of tables are compared by their name, wherever they are in the file.
_NAME: Final = "name"
_DIGEST_SHOWN: Final = 8


class Difference(Struct, frozen=True):
    """A key such as `rooms.drop.admissions_per_s`, and its values as text: None where it is absent."""

    table: str
    key: str
    before: str | None
    after: str | None


def differences_of(before: Policies, after: Policies) -> tuple[Difference, ...]:
    """All differences, in the order of the tables. Digests of keys are cut."""
    plain_before, plain_after = msgspec.to_builtins(before), msgspec.to_builtins(after)
    return tuple(
        Difference(table, key, _text(key, old), _text(key, new))
        for table in plain_before
        for key, old, new in _compare(table, plain_before[table], plain_after[table])
    )


def _compare(key: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if old == new:
        return
    members = _members(old), _members(new)
    if members[0] is None or members[1] is None:
        yield key, old, new
        return
    for name in dict.fromkeys([*members[0], *members[1]]):
        yield from _compare(f"{key}.{name}", members[0].get(name, _ABSENT), members[1].get(name, _ABSENT))


def _members(value: Any) -> Mapping[str, Any] | None:
    """The members of a table, or its rows by name; None for a plain value."""
    if isinstance(value, Mapping):
        return value
    is_rows = isinstance(value, list | tuple) and all(isinstance(row, Mapping) and _NAME in row for row in value)
    return {row[_NAME]: row for row in value} if is_rows else None


def _text(key: str, value: Any) -> str | None:
    if value is _ABSENT:
        return None
    text = msgspec.json.encode(value).decode()
    return f"{text[: _DIGEST_SHOWN + 1]}…" if key.endswith("sha256") else text
