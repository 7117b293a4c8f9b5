"""Decodes values of the file into the structs of `policies.py` and collects all errors, not only the first."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time
from functools import cache
from typing import Any, Final, NamedTuple

from msgspec import inspect

from gateway.config.policies import Table
from gateway.config.source_lines import KeyPath

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
NO_CONTROL_CHARACTERS: Final = "must not hold control characters"
_MAX_SHOWN: Final = 60
# Error messages omit the value of these keys: URLs may contain passwords, a mistyped key may be the secret itself.
_SECRET: Final = re.compile(r"url|target|secret|token|sha256|password|passwd|credential")


# The error message of a value of the right type, or None; by table and member.
Check = Callable[[Any], str | None]
Checks = Mapping[tuple[type, str], Check]


class Diagnostic(NamedTuple):
    """An error or a warning about a key; the message says the correction."""

    key_path: KeyPath
    message: str


class _Invalid:
    """In place of an invalid value, whose error is recorded."""


_INVALID: Final = _Invalid()


class Reader:
    """Decodes values by their types and collects errors.

    An invalid table is omitted, so that later checks see valid tables only.
    """

    def __init__(self, *, checks: Checks, top_level: Collection[str]) -> None:
        self._checks = checks
        # Names of settings, for a hint where one is below a table header.
        self._top_level = top_level
        self.errors: list[Diagnostic] = []
        # Key path of each decoded table, by its `id`.
        self.key_paths: dict[int, KeyPath] = {}

    def read(self, kind: type[Table], value: Mapping[str, Any]) -> Any:
        """Decode the top level of the file. Invalid tables have their defaults."""
        fields = struct_fields(kind)
        found = {key: self._read(fields[key].type, part, (key,)) for key, part in value.items() if key in fields}
        return kind(**{key: part for key, part in found.items() if part is not _INVALID})

    def add_unknown_key(self, key_path: KeyPath, known: Collection[str]) -> None:
        """Record an unknown key, with the most similar known one."""
        key = str(key_path[-1])
        near = difflib.get_close_matches(key.lower().replace("-", "_"), known, n=1, cutoff=0.7)
        if near:
            hint = f"did you mean {near[0]}?"
        elif len(key_path) > 1 and key in self._top_level:
            hint = "as a setting of the top level it belongs above the first table"
        else:
            hint = f"there is {', '.join(sorted(known))}" if len(known) < 25 else "see peakgate config schema"
        self.errors.append(Diagnostic(key_path, f"there is no such key; {hint}"))

    # Each returns the value, or records an error and returns `_INVALID`.

    def _read(
        self, kind: inspect.Type, value: object, key_path: KeyPath, check: Check | None = None, form: str | None = None
    ) -> Any:
        match kind:
            case inspect.Metadata():
                return self._read(kind.type, value, key_path, check, (kind.extra or {}).get("format", form))
            case inspect.UnionType():
                (inner,) = (each for each in kind.types if not isinstance(each, inspect.NoneType))
                return self._read(inner, value, key_path, check, form)
            case inspect.StructType():
                return self._struct(kind, value, key_path)
            case inspect.VarTupleType():
                return self._list(kind, value, key_path, check)
            case inspect.DictType():
                return self._dict(kind, value, key_path)
            case _:
                return self._leaf(kind, value, key_path, check, form)

    def _struct(self, kind: inspect.StructType, value: object, key_path: KeyPath) -> Any:
        if not isinstance(value, dict):
            is_list = isinstance(value, list)
            return self._invalid(key_path, f"must be one table: [{key_path[-1]}]" if is_list else "must be a table")
        fields = struct_fields(kind.cls)
        found = {}
        for key, part in value.items():
            if key in fields:
                found[key] = self._read(fields[key].type, part, (*key_path, key), self._checks.get((kind.cls, key)))
            else:
                self.add_unknown_key((*key_path, key), fields)
                found[key] = _INVALID
        for name in (name for name, field in fields.items() if field.required and name not in value):
            found[name] = self._invalid(key_path, f"{name} is missing")
        if any(part is _INVALID for part in found.values()):
            return _INVALID
        table = kind.cls(**found)
        self.key_paths[id(table)] = key_path
        return table

    def _list(self, kind: inspect.VarTupleType, value: object, key_path: KeyPath, check: Check | None) -> Any:
        of_tables = isinstance(kind.item_type, inspect.StructType)
        if not isinstance(value, list):
            return self._invalid(
                key_path, f"must be a list of tables: [[{key_path[-1]}]]" if of_tables else "must be a list: […]"
            )
        found = [self._read(kind.item_type, part, (*key_path, index), check) for index, part in enumerate(value)]
        if kind.min_length is not None and len(value) < kind.min_length:
            return self._invalid(key_path, f"must have {kind.min_length} or more")
        sound = tuple(part for part in found if part is not _INVALID)
        return sound if of_tables or len(sound) == len(found) else _INVALID

    def _dict(self, kind: inspect.DictType, value: object, key_path: KeyPath) -> Any:
        if not isinstance(value, dict):
            return self._invalid(key_path, "must be a table")
        found = {key: self._read(kind.value_type, part, (*key_path, key)) for key, part in value.items()}
        sound = {key: part for key, part in found.items() if part is not _INVALID}
        return sound if isinstance(kind.value_type, inspect.StructType) or len(sound) == len(found) else _INVALID

    def _leaf(self, kind: inspect.Type, value: object, key_path: KeyPath, check: Check | None, form: str | None) -> Any:
        if has_control(value):
            return self._invalid(key_path, NO_CONTROL_CHARACTERS)
        read = _leaf(kind, value)
        if read is _INVALID:
            return self._invalid(key_path, f"must be {_rule(kind, form)}{actual_value(key_path, value)}")
        if check is not None and (message := check(read)):
            return self._invalid(key_path, message)
        return read

    def _invalid(self, key_path: KeyPath, message: str) -> _Invalid:
        self.errors.append(Diagnostic(key_path, message))
        return _INVALID


def has_control(value: object) -> bool:
    """Whether it is text with a control character, which could end a line of a header, a log or an error."""
    return isinstance(value, str) and _CONTROL.search(value) is not None


def is_secret(key_path: KeyPath) -> bool:
    """Whether the value of a key may be a secret."""
    return any(isinstance(part, str) and _SECRET.search(part) for part in key_path)


def actual_value(key_path: KeyPath, value: object) -> str:
    """`, not …` for the end of an error message; empty if the value may be a secret."""
    if is_secret(key_path):
        return ""
    match value:
        case bool():
            text = str(value).lower()
        case str() | datetime() | date() | time():
            text = repr(str(value))
        case int() | float():
            # CPython does not format very long integers.
            text = repr(value) if isinstance(value, float) or value.bit_length() < 256 else "one that long"
        case dict():
            text = "a table"
        case _:
            text = "a list"
    return f", not {text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + '…'}"


@cache
def struct_fields(kind: type) -> Mapping[str, inspect.Field]:
    """The members of a table by name."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return {field.name: field for field in described.fields}


def _leaf(kind: inspect.Type, value: object) -> Any:
    """The value if msgspec would accept it and it is finite, else `_INVALID`."""
    match kind:
        case inspect.BoolType() if isinstance(value, bool):
            return value
        case inspect.IntType() if isinstance(value, int) and not isinstance(value, bool):
            return value if _within(kind, value) else _INVALID
        case inspect.FloatType() if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value) if _within(kind, value) and math.isfinite(value) else _INVALID
        case inspect.StrType() if isinstance(value, str):
            return value if re.search(kind.pattern or "", value) else _INVALID
        case inspect.LiteralType() if isinstance(value, str) and value in kind.values:
            return value
        case inspect.DateTimeType() if isinstance(value, datetime):
            return value
        case _:
            return _INVALID


def _within(kind: inspect.IntType | inspect.FloatType, value: float) -> bool:
    return (
        (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
        and (kind.lt is None or value < kind.lt)
    )


def _rule(kind: inspect.Type, form: str | None) -> str:
    """The required form, for an error message."""
    match kind:
        case inspect.BoolType():
            return "true or false, without quotes"
        case inspect.IntType() | inspect.FloatType():
            return _number_rule(kind)
        case inspect.LiteralType():
            return f"one of {', '.join(str(word) for word in kind.values if word != '') or 'nothing'}"
        case inspect.DateTimeType():
            return "a time with its zone, such as 2026-11-27T09:00:00Z"
        case inspect.StrType() if form:
            return f"text in quotes ({form})"
        case inspect.StrType() if kind.pattern == "^/":
            return "text in quotes that begins with /"
        case _:
            return "text in quotes"


def _number_rule(kind: inspect.IntType | inspect.FloatType) -> str:
    noun = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
    lower = f" from {kind.ge:.15g}" if kind.ge is not None else f" above {kind.gt:.15g}" if kind.gt is not None else ""
    upper = f" to {kind.le:.15g}" if kind.le is not None else ""
    return f"{noun}{lower}{upper}"
