"""The whole configuration in force as TOML, each value with where it comes from, secrets masked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.config.faults import DEPENDENCIES
from gateway.config.file import Config
from gateway.config.lines import Place, path_text
from gateway.config.options import OPTIONS, Settings
from gateway.config.policies import BREAKERS, Breaker, Policies

_MASK: Final = "***"
_DIGEST_SHOWN: Final = 8


def as_toml(settings: Settings, sources: Mapping[str, str], config: Config | None) -> str:
    """Settings and tables; `sources` says where settings come from that are not their default."""
    named = f"{config.name} (digest {config.digest})" if config else "no file"
    lines = [f"# In force: {named}, variables and flags. Secrets are masked.", ""]
    for name in OPTIONS:
        value = getattr(settings, name)
        source = sources.get(name, "default")
        if value is None:
            lines.append(f"# {name} is not set")
        elif name == "config":
            # No key of the file: it cannot name another.
            lines.append(f"# {name} is {_literal(value)}  # {source}")
        else:
            lines.append(f"{name} = {_literal(_masked(value))}  # {source}")
    lines += _table(_with_all_breakers(settings.policies), (), config)
    return "\n".join(lines) + "\n"


def _with_all_breakers(policies: Policies) -> Policies:
    """Also those that nobody has written a table for."""
    plain = dict.fromkeys((*DEPENDENCIES, *(upstream.name for upstream in policies.upstreams)), Breaker())
    return replace(policies, breaker={**plain, **BREAKERS, **policies.breaker})


def _table(table: Struct, place: Place, config: Config | None) -> Iterator[str]:
    """The members of a table, then the tables in it."""
    values = {name: getattr(table, name) for name in table.__struct_fields__}
    for name, value in values.items():
        if value is None:
            yield f"# {name} is not set"
        elif not _holds_tables(value) and place:
            where = config.where((*place, name)) if config else None
            shown = f"{value[:_DIGEST_SHOWN]}…" if name == "sha256" else _masked(value)
            yield f"{name} = {_literal(shown)}  # {where or 'default'}"
    for name, value in values.items():
        yield from _tables_in(value, (*place, name), config)


def _tables_in(value: Any, place: Place, config: Config | None) -> Iterator[str]:
    header = path_text(tuple(part for part in place if isinstance(part, str)))
    if isinstance(value, Struct):
        yield from ("", f"[{header}]", *_table(value, place, config))
    elif isinstance(value, tuple) and _holds_tables(value):
        for index, row in enumerate(value):
            yield from ("", f"[[{header}]]", *_table(row, (*place, index), config))
    elif isinstance(value, dict) and _holds_tables(value):
        for name, row in value.items():
            yield from _tables_in(row, (*place, name), config)
    elif len(place) == 1:
        yield from ("", f"# no {header}")


def _holds_tables(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    return isinstance(value, Struct) or (isinstance(value, tuple) and any(isinstance(each, Struct) for each in value))


def _masked(value: Any) -> Any:
    """An address without its possible secrets: user, password and query."""
    if isinstance(value, tuple):
        return tuple(_masked(each) for each in value)
    if not isinstance(value, str) or "://" not in value:
        return value
    scheme, _, rest = value.partition("://")
    # A password may hold a slash or an at sign that should have been encoded.
    _, at, place = rest.rpartition("@")
    place, query, _ = place.partition("?")
    return f"{scheme}://{_MASK + at if at else ''}{place}{query + _MASK if query else ''}"


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
