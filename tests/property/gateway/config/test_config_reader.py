"""The reader: any text is valid or has errors, values agree with msgspec, and every key has its line."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from gateway.config.file import Config, ConfigError, read_text
from gateway.config.options import OPTIONS
from gateway.config.policies import Policies
from gateway.config.reader import Reader
from gateway.config.source_lines import KeyPath, line_index

TABLES = Policies.__struct_fields__
MEMBERS = (
    "name",
    "enabled",
    "routes",
    "quota",
    "by",
    "window_s",
    "burst",
    "targets",
    "health",
    "path",
    "percent",
    "start",
    "end",
    "rooms",
    "limits",
    "switches",
    "skus",
    "admissions_per_s",
    "max_active",
    "allow_origins",
    "allow_credentials",
    "allow",
    "ok_sample_rate",
    "prefix",
    "upstream",
    "api_keys",
    "sha256",
    "algorithms",
    "jwks_url",
    "open_s",
    "personal_fields",
    "colour",
)
SCALARS = (
    st.booleans()
    | st.integers(-5, 10**10)
    | st.floats()
    | st.sampled_from(
        ["a", "web", "address", "*", "/v1/*", "http://web:80", "10.0.0.0/8", "HS256", "", "0" * 64, "/a/"]
    )
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.datetimes(timezones=st.none() | st.just(UTC))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=5),
    max_leaves=12,
)
FILES = st.dictionaries(st.sampled_from([*TABLES, *OPTIONS, "colour"]), VALUES, max_size=6)


def read(text: str) -> Config | list[str]:
    try:
        return read_text(text)
    except ConfigError as error:
        return error.errors


def toml(value: Any) -> str:
    match value:
        case bool() | int():
            return json.dumps(value)
        case float():
            return repr(value) if math.isfinite(value) else str(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case datetime():
            return value.isoformat()
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case _:
            assert isinstance(value, dict)
            return f"{{{', '.join(f'{json.dumps(key)} = {toml(each)}' for key, each in value.items())}}}"


def document(values: Mapping[str, Any]) -> str:
    return "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in values.items())


@given(st.text())
def test_any_text_is_valid_or_has_errors(text: str) -> None:
    read(text)


@given(st.text(alphabet="[]{}=.,\"'\\#\n\r\t abn019-:TZ_", max_size=80))
@settings(max_examples=500)
def test_text_similar_to_toml_is_valid_or_has_errors(text: str) -> None:
    read(text)


@given(FILES)
@settings(max_examples=300, deadline=None)
def test_any_values_are_valid_or_have_errors_of_one_line(values: dict[str, Any]) -> None:
    outcome = read(document(values))
    if isinstance(outcome, list):
        assert outcome
        assert not any("\n" in error for error in outcome)
        assert all(error.startswith("peakgate.toml:") for error in outcome)


@given(st.dictionaries(st.sampled_from(TABLES), VALUES, max_size=4))
@settings(max_examples=300, deadline=None)
def test_types_are_those_of_msgspec(values: dict[str, Any]) -> None:
    reader = Reader(checks={}, top_level=())
    found = reader.read(Policies, values)
    try:
        wanted = msgspec.convert(values, Policies, builtin_types=(datetime,))
    except (msgspec.ValidationError, OverflowError):
        assert reader.errors
        return
    # Values that msgspec accepts and a file must not contain.
    stricter = any(
        "control characters" in error.message or "nan" in error.message or "inf" in error.message
        for error in reader.errors
    )
    assert stricter or (found == wanted and not reader.errors)


def right(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a type."""
    match kind:
        case inspect.Metadata():
            return right(kind.type)
        case inspect.UnionType():
            return right(kind.types[0])
        case inspect.StructType():
            members = {field.name: right(field.type) for field in kind.fields}
            required = {field.name for field in kind.fields if field.required}
            return st.fixed_dictionaries(
                {name: members[name] for name in required},
                optional={name: each for name, each in members.items() if name not in required},
            )
        case inspect.VarTupleType():
            return st.lists(right(kind.item_type), min_size=kind.min_length or 0, max_size=2)
        case inspect.DictType():
            return st.dictionaries(st.sampled_from(["a", "web", "store"]), right(kind.value_type), max_size=2)
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.StrType():
            return st.from_regex(kind.pattern or "^[a-z /]*$").filter(lambda text: text.isprintable())
        case inspect.IntType():
            return st.integers(kind.ge, kind.le)
        case inspect.FloatType():
            return st.floats(kind.gt if kind.ge is None else kind.ge, kind.le, exclude_min=kind.gt is not None)
        case inspect.DateTimeType():
            return st.datetimes(timezones=st.just(UTC))
        case _:
            assert isinstance(kind, inspect.BoolType)
            return st.booleans()


@given(right(inspect.type_info(Policies)))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_values_of_the_right_types_are_unchanged(values: dict[str, Any]) -> None:
    reader = Reader(checks={}, top_level=())
    assert reader.read(Policies, values) == msgspec.convert(values, Policies)
    assert not reader.errors
    read(document(values))


def key_paths(value: Any, key_path: KeyPath = ()) -> Iterator[KeyPath]:
    yield key_path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from key_paths(each, (*key_path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from key_paths(each, (*key_path, index))


@given(FILES)
@settings(max_examples=300, deadline=None)
def test_every_key_and_element_has_a_line(values: dict[str, Any]) -> None:
    text = document(values)
    lines = line_index(text)
    assert set(lines) == set(key_paths(tomllib.loads(text))) - {()}
    assert set(lines.values()) <= set(range(1, text.count("\n") + 1))


@given(st.text(alphabet="[]{}=.,\"'#\n abn01", max_size=60))
@settings(max_examples=500)
def test_every_key_and_element_of_any_toml_text_has_a_line(text: str) -> None:
    try:
        values = tomllib.loads(text)
    except ValueError:
        return
    assert set(line_index(text)) == set(key_paths(values)) - {()}
