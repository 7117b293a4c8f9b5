"""The references of the documentation site have every setting, table, call and command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from gateway.commands.config import own_routes
from gateway.config.options import FILE_KEYS
from gateway.config.policies import Policies

ROOT = Path(__file__).parents[3]


@cache
def pages() -> Mapping[str, str]:
    program = [sys.executable, str(ROOT / "docs/site/reference.py")]
    return dict(json.loads(subprocess.run(program, cwd=ROOT, check=True, capture_output=True, timeout=300).stdout))


def test_every_setting_is_in_the_reference_with_a_meaning() -> None:
    rows = {line.split("`")[1]: line for line in pages()["reference/configuration.md"].splitlines() if "| `" in line}
    assert [name for name in FILE_KEYS if name not in rows] == []
    assert [name for name in FILE_KEYS if rows[name].rstrip(" |").endswith("|")] == []


def test_every_table_of_the_file_has_a_section() -> None:
    page = pages()["reference/configuration.md"]
    tables = [each.encode_name for each in msgspec.structs.fields(Policies)]
    headers = ("[{}]", "[[{}]]", "[{}.NAME]")
    assert [name for name in tables if not any(f"## `{each.format(name)}`" in page for each in headers)] == []


def test_every_call_of_the_api_has_a_section() -> None:
    page = pages()["reference/api.md"]
    assert [f"{method} {path}" for method, path in own_routes() if f"## {method} {path}\n" not in page] == []


def test_every_command_has_its_help() -> None:
    page = pages()["reference/commands.md"]
    for command in ("peakgate serve", "peakgate orders dead redrive", "peakgate audit", "peakgate replay"):
        assert f"# {command}\n\n```text\nusage: {command} " in page, command
