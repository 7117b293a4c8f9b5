"""Formats the effective configuration as TOML, each value with its source, secrets masked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.config.cross_checks import DEPENDENCIES
from gateway.config.file import Config
from gateway.config.options import OPTIONS, Settings
from gateway.config.policies import BREAKERS, Breaker, Policies
from gateway.config.source_lines import KeyPath, format_key_path

_MASK: Final = "***"
_DIGEST_SHOWN: Final = 8


def format_toml(settings: Settings, sources: Mapping[str, str], config: Config | None) -> str:
    """Settings and tables. `sources` are those of settings without their default."""
    named = f"{config.name} (digest {config.digest})" if config else "no file"
    lines = [f"# Effective: {named}, variables and flags. Secrets are masked.", ""]
    for name in OPTIONS:
        value = getattr(settings, name)
        source = sources.get(name, "default")
        if value is None:
            lines.append(f"# {name} is not set")
        elif name == "config":
            # Not a key of the file.
            lines.append(f"# {name} is {_literal(value)}  # {source}")
        else:
            lines.append(f"{name} = {_literal(_masked(value))}  # {source}")
    lines += _table(_with_all_breakers(settings.policies), (), config)
    return "\n".join(lines) + "\n"


def _with_all_breakers(policies: Policies) -> Policies:
    """Policies with the breakers of all dependencies and upstreams."""
    plain = dict.fromkeys((*DEPENDENCIES, *(upstream.name for upstream in policies.all_upstreams)), Breaker())
    return replace(policies, breaker={**plain, **BREAKERS, **policies.breaker})


def _table(table: Struct, key_path: KeyPath, config: Config | None) -> Iterator[str]:
    """The members of a table, then the tables in it."""
    values = {name: getattr(table, name) for name in table.__struct_fields__}
    for name, value in values.items():
        if value is None:
            yield f"# {name} is not set"
        elif not _holds_tables(value) and key_path:
            location = config.location((*key_path, name)) if config else None
            shown = f"{value[:_DIGEST_SHOWN]}…" if name == "sha256" else _masked(value)
            yield f"{name} = {_literal(shown)}  # {location or 'default'}"
    for name, value in values.items():
        yield from _tables_in(value, (*key_path, name), config)


def _tables_in(value: Any, key_path: KeyPath, config: Config | None) -> Iterator[str]:
    header = format_key_path(tuple(part for part in key_path if isinstance(part, str)))
    if isinstance(value, Struct):
        yield from ("", f"[{header}]", *_table(value, key_path, config))
    elif isinstance(value, tuple) and _holds_tables(value):
        for index, row in enumerate(value):
            yield from ("", f"[[{header}]]", *_table(row, (*key_path, index), config))
    elif isinstance(value, dict) and _holds_tables(value):
        for name, row in value.items():
            yield from _tables_in(row, (*key_path, name), config)
    elif len(key_path) == 1:
        yield from ("", f"# no {header}")


def _holds_tables(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    return isinstance(value, Struct) or (isinstance(value, tuple) and any(isinstance(each, Struct) for each in value))


def _masked(value: Any) -> Any:
    """A URL with user, password and query masked."""
    if isinstance(value, tuple):
        return tuple(_masked(each) for each in value)
    if not isinstance(value, str) or "://" not in value:
        return value
    scheme, _, rest = value.partition("://")
    # A password may hold a slash or an at sign that should have been encoded.
    _, at, address = rest.rpartition("@")
    address, query, _ = address.partition("?")
    return f"{scheme}://{_MASK + at if at else ''}{address}{query + _MASK if query else ''}"


def _literal(value: Any) -> str:
    """A value as TOML. Text in the configuration has no control characters, so JSON's escapes are TOML's."""
    match value:
        case bool():
            return "true" if value else "false"
        case str() | Path():
            return json.dumps(str(value), ensure_ascii=False)
        case datetime():
            return value.isoformat()
        case Mapping():
            return "{" + ", ".join(f"{json.dumps(name)} = {_literal(each)}" for name, each in value.items()) + "}"
        case Sequence():
            return "[" + ", ".join(_literal(each) for each in value) + "]"
        case _:
            return repr(value)
