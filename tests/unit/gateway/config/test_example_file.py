"""`examples/peakgate.toml` is in order, and names everything there is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import inspect

from gateway.commands.config import own_routes
from gateway.config.faults import idle_patterns
from gateway.config.file import NAME, read_text
from gateway.config.options import OF_THE_FILE, OPTIONS
from gateway.config.policies import BREAKERS, Policies

TEXT = (Path(__file__).parents[4] / "examples" / NAME).read_text(encoding="utf-8")
# With every key that is left out written.
WHOLE = re.sub(r"^#(?=[a-z\[])", "", TEXT, flags=re.MULTILINE)


def test_the_example_is_in_order_and_its_patterns_match_routes() -> None:
    assert not idle_patterns(read_text(TEXT).policies, own_routes())


def test_so_it_is_with_everything_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("catalog.csv", "shopper-secret"):
        (tmp_path / name).write_text("s" * 32)
    assert not idle_patterns(read_text(WHOLE).policies, own_routes())


def members(kind: inspect.Type, values: list[Any], place: str) -> Iterator[tuple[str, bool]]:
    """Every member of a table and the tables in it, and whether one of `values` has it."""
    match kind:
        case inspect.StructType():
            for field in kind.fields:
                found = [value[field.name] for value in values if field.name in value]
                yield f"{place}.{field.name}", bool(found)
                yield from members(field.type, found, f"{place}.{field.name}")
        case inspect.Metadata():
            yield from members(kind.type, values, place)
        case inspect.VarTupleType():
            yield from members(kind.item_type, [row for value in values for row in value], place)
        case inspect.DictType():
            yield from members(kind.value_type, [row for value in values for row in value.values()], place)
        case inspect.UnionType():
            for each in kind.types:
                yield from members(each, values, place)
        case _:
            return


def test_it_names_every_member_of_every_table() -> None:
    named = dict(members(inspect.type_info(Policies), [tomllib.loads(WHOLE)], ""))
    assert len(named) > 80
    assert [place for place, is_named in named.items() if not is_named] == []


def test_it_names_every_setting_in_their_order_or_grouped() -> None:
    written = [key for key in tomllib.loads(WHOLE) if key in OPTIONS]
    assert sorted(written) == sorted(OF_THE_FILE)


@pytest.mark.parametrize("name", OF_THE_FILE)
def test_a_setting_left_out_is_shown_with_its_default(name: str) -> None:
    default = OPTIONS[name].default
    if isinstance(default, str | int | float | Path):
        shown = tomllib.loads(WHOLE)[name]
        assert shown == (str(default) if isinstance(default, Path) else default)


def test_tables_are_written_with_their_defaults() -> None:
    policies, plain = read_text(TEXT).policies, Policies()
    for name in ("identity", "shoppers", "shedding", "cache", "cors", "compression", "headers", "access_log"):
        assert getattr(policies, name) == getattr(plain, name), name
    assert policies.breaker["payment"] == BREAKERS["payment"]
