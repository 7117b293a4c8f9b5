"""JSON Schema (2020-12) of `peakgate.toml`, for editors: the description and the constraints of each key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.config.options import FILE_KEYS, OPTIONS
from gateway.config.policies import Policies

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema() -> Mapping[str, Any]:
    """The whole schema."""
    definitions: dict[str, Any] = msgspec.json.schema(Policies)["$defs"]
    for definition in definitions.values():
        definition["properties"] = {name: _property(member) for name, member in definition["properties"].items()}
    tables = definitions.pop("Policies")["properties"]
    return {
        "$schema": DIALECT,
        "title": "peakgate.toml",
        "description": "Settings of Peakgate, read when it starts, and tables of policies, which a reload changes.",
        "type": "object",
        "properties": {**{name: _setting(name) for name in FILE_KEYS}, **tables},
        "additionalProperties": False,
        "$defs": definitions,
    }


def _property(member: dict[str, Any]) -> dict[str, Any]:
    """A member without null, which TOML lacks: optional keys are left out. Defaults of tables are in their members."""
    optional = [each for each in member.pop("anyOf", ()) if each.get("type") != "null"]
    for kind in optional:
        member |= kind
    is_table = (
        "$ref" in member or "$ref" in member.get("items", {}) or "$ref" in str(member.get("additionalProperties"))
    )
    if member.get("default", ...) is None or is_table:
        member.pop("default", None)
    return member


def _setting(name: str) -> Mapping[str, Any]:
    option = OPTIONS[name]
    default = option.default
    known = {"default": str(default) if isinstance(default, Path) else default}
    is_fixed = isinstance(default, str | int | float | Path)
    return {
        **option.metadata["kind"].schema,
        "description": option.metadata["help"],
        **(known if is_fixed else {}),
    }
