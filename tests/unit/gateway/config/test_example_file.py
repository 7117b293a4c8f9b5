"""`examples/peakgate.toml` is valid and has every key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import inspect

from gateway.commands.config import own_routes
from gateway.config.cross_checks import unmatched_route_patterns
from gateway.config.file import NAME, read_text
from gateway.config.options import FILE_KEYS, OPTIONS
from gateway.config.policies import BREAKERS, Policies
from primitives.webhook_signature import new_secret

TEXT = (Path(__file__).parents[4] / "examples" / NAME).read_text(encoding="utf-8")
# With all commented keys.
WHOLE = re.sub(r"^#(?=[a-z\[])", "", TEXT, flags=re.MULTILINE)


def test_the_example_is_valid_and_its_patterns_match_routes() -> None:
    assert not unmatched_route_patterns(read_text(TEXT).policies, own_routes())


def test_the_example_is_valid_with_all_commented_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("catalog.csv", "shopper-secret", "store-ca.pem", "gateway.crt", "gateway.key"):
        (tmp_path / name).write_text("s" * 32)
    (tmp_path / "webhook-secret").write_text(new_secret())
    assert not unmatched_route_patterns(read_text(WHOLE).policies, own_routes())


def members(kind: inspect.Type, values: list[Any], key_path: str) -> Iterator[tuple[str, bool]]:
    """Every member of a table and the tables in it, and whether one of `values` has it."""
    match kind:
        case inspect.StructType():
            for field in kind.fields:
                found = [value[field.name] for value in values if field.name in value]
                yield f"{key_path}.{field.name}", bool(found)
                yield from members(field.type, found, f"{key_path}.{field.name}")
        case inspect.Metadata():
            yield from members(kind.type, values, key_path)
        case inspect.VarTupleType():
            yield from members(kind.item_type, [row for value in values for row in value], key_path)
        case inspect.DictType():
            yield from members(kind.value_type, [row for value in values for row in value.values()], key_path)
        case inspect.UnionType():
            for each in kind.types:
                yield from members(each, values, key_path)
        case _:
            return


def test_the_example_has_every_key_of_every_table() -> None:
    named = dict(members(inspect.type_info(Policies), [tomllib.loads(WHOLE)], ""))
    assert len(named) > 80
    assert [key_path for key_path, is_named in named.items() if not is_named] == []


def test_the_example_has_every_setting() -> None:
    written = [key for key in tomllib.loads(WHOLE) if key in OPTIONS]
    assert sorted(written) == sorted(FILE_KEYS)


@pytest.mark.parametrize("name", FILE_KEYS)
def test_a_commented_setting_has_its_default(name: str) -> None:
    default = OPTIONS[name].default
    if isinstance(default, str | int | float | Path):
        shown = tomllib.loads(WHOLE)[name]
        assert shown == (str(default) if isinstance(default, Path) else default)


def test_tables_have_their_defaults() -> None:
    policies, plain = read_text(TEXT).policies, Policies()
    for name in ("identity", "shoppers", "shedding", "cache", "cors", "compression", "headers", "access_log"):
        assert getattr(policies, name) == getattr(plain, name), name
    assert policies.breaker["payment"] == BREAKERS["payment"]
