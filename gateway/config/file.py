"""Reads `peakgate.toml`: all settings and policies, or all errors of the file."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from gateway.config.cross_checks import check_policies
from gateway.config.options import FILE_KEYS, OPTIONS
from gateway.config.policies import BREAKERS, Breaker, Policies
from gateway.config.reader import NO_CONTROL_CHARACTERS, Diagnostic, Reader, actual_value, has_control
from gateway.config.source_lines import KeyPath, format_key_path, line_index
from gateway.config.value_checks import CHECKS
from primitives.text_file import decode

NAME: Final = "peakgate.toml"
# Far above any real file. Bounds the time of parsing.
_MAX_CHARACTERS: Final = 4 * 1024 * 1024
_AT_LINE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class ConfigError(Exception):
    """The file is invalid; `errors` has a line for each error: `file:line: key: message`."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


@dataclass(frozen=True)
class Config:
    """A valid file."""

    name: str
    text: str = field(repr=False)
    policies: Policies
    # Values of the top level by the name of their setting.
    settings: Mapping[str, Any]
    lines: Mapping[KeyPath, int] = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """The first twelve hex digits of the text's SHA-256: identifies the active file."""
        return hashlib.sha256(self.text.encode(errors="surrogatepass")).hexdigest()[:12]

    def location(self, key_path: KeyPath) -> str | None:
        """`file:line` of a key, None if the file does not set it."""
        return f"{self.name}:{self.lines[key_path]}" if key_path in self.lines else None


def read_file(path: Path) -> Config:
    """Read a file. Raises `ConfigError` if it is invalid or unreadable."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    try:
        text = decode(raw)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: must be UTF-8"]) from None
    return read_text(text, name=str(path))


def read_text(text: str, *, name: str = NAME) -> Config:
    """Parse the text of the file `name`. Raises `ConfigError` with all its errors."""
    # Editors and requests to reload may leave the byte-order mark at its beginning; TOML has none.
    text = text.removeprefix("\ufeff")
    if len(text) > _MAX_CHARACTERS:
        raise ConfigError([f"{name}: must be no longer than {_MAX_CHARACTERS:,} characters"])
    try:
        values = tomllib.loads(text)
        lines = line_index(text)
    except RecursionError:
        raise ConfigError([f"{name}: nested too deeply"]) from None
    except ValueError as error:
        raise ConfigError([_syntax_error(name, text, error)]) from None
    settings, setting_errors = _settings(values)
    reader = Reader(checks=CHECKS, top_level=FILE_KEYS)
    policies: Policies = reader.read(Policies, values)
    for key in values:
        if key not in OPTIONS and key not in Policies.__struct_fields__:
            reader.add_unknown_key((key,), (*FILE_KEYS, *Policies.__struct_fields__))
    policies = _with_breaker_defaults(policies, values)
    errors = [*setting_errors, *reader.errors, *check_policies(policies, values, reader.key_paths)]
    if errors:
        raise ConfigError(_format_errors(name, lines, errors))
    return Config(name=name, text=text, policies=policies, settings=settings, lines=lines)


def _with_breaker_defaults(policies: Policies, values: Mapping[str, Any]) -> Policies:
    """Policies in which keys missing from a breaker's table have the defaults of its dependency."""
    breakers = dict(policies.breaker)
    for name in breakers.keys() & BREAKERS.keys():
        written = values["breaker"][name]
        # The reader reports unknown keys and values that are not tables.
        known = [key for key in Breaker.__struct_fields__ if isinstance(written, dict) and key in written]
        breakers[name] = replace(BREAKERS[name], **{key: getattr(breakers[name], key) for key in known})
    return replace(policies, breaker=breakers)


def _settings(values: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Diagnostic]]:
    found: dict[str, Any] = {}
    errors = []
    for key in (key for key in values if key in OPTIONS):
        if key == "config":
            errors.append(Diagnostic((key,), "a file cannot name another; use --config or PEAKGATE_CONFIG"))
            continue
        if has_control(values[key]):
            errors.append(Diagnostic((key,), NO_CONTROL_CHARACTERS))
            continue
        try:
            found[key] = OPTIONS[key].metadata["kind"].parse_toml(values[key])
        except ValueError as error:
            errors.append(Diagnostic((key,), f"{error}{actual_value((key,), values[key])}"))
    return found, errors


def _format_errors(name: str, lines: Mapping[KeyPath, int], errors: Iterable[Diagnostic]) -> list[str]:
    """One line for each error, in the order of the file."""
    by_line = [(lines.get(error.key_path, lines.get(error.key_path[:-1], 1)), error) for error in errors]
    by_line.sort(key=lambda each: each[0])
    return [f"{name}:{line}: {format_key_path(error.key_path)}: {error.message}" for line, error in by_line]


def _syntax_error(name: str, text: str, error: ValueError) -> str:
    """The message of tomllib after its line. A number with too many digits is a plain ValueError without a line."""
    if not isinstance(error, tomllib.TOMLDecodeError):
        return f"{name}: is not TOML: a value is out of all bounds"
    message = str(error)
    match = _AT_LINE.search(message)
    line = int(match[1]) if match and match[1] else text.count("\n") + 1
    return f"{name}:{line}: is not TOML: {message[: match.start()] if match else message}"
