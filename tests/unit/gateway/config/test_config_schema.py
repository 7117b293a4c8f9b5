"""The JSON Schema: it is valid, describes every key, and agrees with the reader."""

from __future__ import annotations

import json
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.config.file import NAME, ConfigError, read_text
from gateway.config.options import FILE_KEYS
from gateway.config.policies import Policies
from gateway.config.schema import schema

EXAMPLE = (Path(__file__).parents[4] / "examples" / NAME).read_text(encoding="utf-8")


def as_json(text: str) -> Any:
    """Values of TOML as JSON, as an editor validates them."""
    return json.loads(json.dumps(tomllib.loads(text), default=datetime.isoformat))


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(json.dumps(schema()))


def test_the_schema_is_valid(document: Any) -> None:
    Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_has_every_setting_and_table(document: Any) -> None:
    assert set(document["properties"]) == {*FILE_KEYS, *Policies.__struct_fields__}


def test_every_key_is_described(document: Any) -> None:
    tables = {"": document, **document["$defs"]}
    undescribed = [
        f"{name}.{key}"
        for name, table in tables.items()
        for key, described in table["properties"].items()
        if len(described.get("description", "")) < 10 or "\n" in described["description"]
    ]
    assert undescribed == []


def test_the_example_is_valid(document: Any) -> None:
    assert list(Draft202012Validator(document).iter_errors(as_json(EXAMPLE))) == []


@pytest.mark.parametrize(
    "text",
    [
        "port = 70000",
        "port = '80'",
        "show_stock = 'yes'",
        "role = 'king'",
        "colour = 1",
        "config = 'x'",
        "shedding.enabled = 1",
        "shedding.off = true",
        "access_log.ok_sample_rate = 2",
        "[[limits]]\nname = 'a'\nby = 'route'",
        "[[limits]]\nname = 'A'\nby = 'route'\nquota = 1",
        "[[upstreams]]\nname = 'a'\ntargets = []",
    ],
)
def test_invalid_values_are_errors_of_the_schema_and_of_the_reader(document: Any, text: str) -> None:
    assert list(Draft202012Validator(document).iter_errors(as_json(text)))
    with pytest.raises(ConfigError):
        read_text(text)
