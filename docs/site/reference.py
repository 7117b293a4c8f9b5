"""Pages of the documentation site that come from the program itself, as one JSON object: path of the page → Markdown.

`make docs` runs it in the environment of the program: the configuration from its schema, the API from its routes, the
commands from their parsers. A key, a route or a command without a page cannot exist.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gateway.api.health import HealthSources, health_routes
from gateway.api.openapi import document
from gateway.api.routes import cart_routes, checkout_routes, product_routes, quote_routes, trending_routes
from gateway.api.webhook_routes import webhook_routes
from gateway.build import VERSION
from gateway.cli.main import command_parser
from gateway.config.schema import schema

Json = Mapping[str, Any]


def main() -> int:
    """Print the pages."""
    spec = document(_routes(), VERSION)
    json.dump(
        {
            "reference/configuration.md": "\n".join(_configuration(schema())),
            "reference/api.md": "\n".join(_api(spec)),
            "reference/commands.md": "\n".join(_commands()),
            "reference/openapi.json": json.dumps(spec, indent=2),
        },
        sys.stdout,
    )
    return 0


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |"
    yield "| " + " | ".join("---" for _ in columns) + " |"
    for row in rows:
        yield "| " + " | ".join(_cell(each) for each in row) + " |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# Configuration


def _configuration(spec: Json) -> Iterator[str]:
    definitions = spec["$defs"]
    tables = {name: each for name, each in spec["properties"].items() if _table_type(each)}
    yield "# Configuration reference"
    yield ""
    yield "Every key of `peakgate.toml`. [Configuration](../configuration.md) explains how the file is read."
    yield ""
    yield "## Settings"
    yield ""
    yield "Read at the start, as an option, a variable `PEAKGATE_…`, or a key at the top of the file."
    yield ""
    yield from _keys({name: each for name, each in spec["properties"].items() if name not in tables}, ())
    for name, each in tables.items():
        yield f"## `{_header(name, each)}`"
        yield ""
        yield each.get("description", "")
        yield ""
        yield from _members(definitions[_table_type(each)])
    named = {_table_type(each) for each in tables.values()}
    for name in definitions.keys() - named:
        yield f"## {name}"
        yield ""
        yield definitions[name].get("description", "")
        yield ""
        yield from _members(definitions[name])


def _table_type(member: Json) -> str:
    """The definition that a key of the file takes, or nothing for a plain value."""
    of_named = member.get("additionalProperties") or {}
    reference = member.get("$ref") or member.get("items", {}).get("$ref") or of_named.get("$ref") or ""
    return str(reference).rpartition("/")[2]


def _header(name: str, member: Json) -> str:
    if member.get("type") == "array":
        return f"[[{name}]]"
    return f"[{name}]" if "$ref" in member else f"[{name}.NAME]"


def _members(definition: Json) -> Iterator[str]:
    yield from _keys(definition["properties"], definition.get("required", ()))


def _keys(members: Mapping[str, Json], required: Sequence[str]) -> Iterator[str]:
    rows = [
        (f"`{name}`", _values(each), _default(name, each, required), each.get("description", ""))
        for name, each in members.items()
    ]
    yield from _table(("key", "value", "default", "meaning"), rows)


def _default(name: str, member: Json, required: Sequence[str]) -> str:
    if name in required:
        return "required"
    return f"`{json.dumps(member['default'])}`" if "default" in member else ""


def _values(member: Json) -> str:
    """The values that a member may have, in words."""
    if "$ref" in member:
        return f"[{_table_type(member)}](#{_table_type(member).lower()})"
    if "enum" in member:
        return ", ".join(f"`{each}`" for each in member["enum"])
    if "anyOf" in member:
        return " or ".join(_values(each) for each in member["anyOf"])
    kind = str(member.get("type", "any"))
    if kind == "array":
        return f"list of {_values(member.get('items', {}))}"
    if kind == "object":
        return f"table of {_values(member.get('additionalProperties') or {})}"
    return kind + _range(member)


def _range(member: Json) -> str:
    low = member.get("minimum", member.get("exclusiveMinimum"))
    high = member.get("maximum", member.get("exclusiveMaximum"))
    if low is None and high is None:
        return ""
    if high is None:
        return f" from {low}" if "minimum" in member else f" above {low}"
    if low is None:
        return f" up to {high}"
    return f" {'above' if 'exclusiveMinimum' in member else 'from'} {low} to {high}"


# API


def _routes() -> Sequence[Any]:
    # Rows only: their calls are looked up when they are called.
    nobody: Any = None
    return (
        *cart_routes(nobody),
        *product_routes(nobody),
        *trending_routes(nobody),
        *checkout_routes(nobody, nobody, nobody),
        *quote_routes(nobody),
        *webhook_routes(shipping=object(), payments=object()),  # type: ignore[arg-type]
        *health_routes(HealthSources(checks={})),
    )


def _api(spec: Json) -> Iterator[str]:
    yield "# API reference"
    yield ""
    yield f"Version {spec['info']['version']}. The same as [OpenAPI 3.1](openapi.json); a running gateway has it at `/docs`, with forms"
    yield "to try each call. [HTTP](../http.md) has the rules that all calls share."
    yield ""
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            yield from _operation(method.upper(), path, operation, spec["components"]["responses"])
    yield "## Schemas"
    yield ""
    for name, each in spec["components"]["schemas"].items():
        yield f"### {name}"
        yield ""
        yield each.get("description", "")
        yield ""
        if "properties" in each:
            yield from _keys(each["properties"], each.get("required", ()))


def _operation(method: str, path: str, operation: Json, shared: Json) -> Iterator[str]:
    yield f"## {method} {path}"
    yield ""
    yield str(operation.get("summary", ""))
    yield ""
    if operation.get("description"):
        yield operation["description"]
        yield ""
    parameters = [each for each in operation.get("parameters", ()) if "name" in each]
    if parameters:
        rows = [
            (f"`{each['name']}`", each["in"], _values(each.get("schema", {})), each.get("description", ""))
            for each in parameters
        ]
        yield from _table(("parameter", "in", "value", "meaning"), rows)
    for body in operation.get("requestBody", {}).get("content", {}).values():
        yield f"Body: {_values(body.get('schema', {}))}"
        yield ""
    rows = [
        (status, _response(shared.get(str(each.get("$ref")).rpartition("/")[2], each)))
        for status, each in operation["responses"].items()
    ]
    yield from _table(("status", "response"), rows)


def _response(response: Json) -> str:
    types = {_values(each["schema"]) for each in response.get("content", {}).values() if "schema" in each}
    return str(response.get("description", "")) + (f" ({', '.join(sorted(types))})" if types else "")


# Commands


def _commands() -> Iterator[str]:
    yield "# Command reference"
    yield ""
    yield "The `--help` of every command."
    yield ""
    for words, each in _parsers(command_parser(["replay"])):
        yield f"{'##' if len(words) < 3 else '###'} {' '.join(words)}"
        yield ""
        yield "```text"
        yield each.format_help().rstrip()
        yield "```"
        yield ""


def _parsers(of: argparse.ArgumentParser) -> Iterator[tuple[Sequence[str], argparse.ArgumentParser]]:
    """A parser and all below it, in the order of their help."""
    yield of.prog.split(), of
    for action in of._actions:  # noqa: SLF001 - argparse has no other way to its subcommands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for each in dict.fromkeys(action.choices.values()):
                yield from _parsers(each)


if __name__ == "__main__":
    sys.exit(main())
