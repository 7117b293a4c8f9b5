"""`peakgate.toml`: its text read whole, or refused whole with all that is wrong with it."""

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

from gateway.config.faults import CHECKS, cross_faults
from gateway.config.lines import Place, line_index, path_text
from gateway.config.options import OF_THE_FILE, OPTIONS
from gateway.config.policies import BREAKERS, Breaker, Policies
from gateway.config.tables import NO_CONTROL, Fault, Reader, has_control, shown

NAME: Final = "peakgate.toml"
# Far above any real file; a larger one is not worth the time it takes to refuse it properly.
_LONGEST: Final = 4 * 1024 * 1024
_AT_LINE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class ConfigError(Exception):
    """The file is not in order; `faults` has a line for each fault: `file:line: key: fault`."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True)
class Config:
    """A file that is in order."""

    name: str
    text: str = field(repr=False)
    policies: Policies
    # Values of the top level by the name of their setting, as `Settings` has them.
    settings: Mapping[str, Any]
    lines: Mapping[Place, int] = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """The first twelve hex digits of the text's SHA-256: which file is in force."""
        return hashlib.sha256(self.text.encode(errors="surrogatepass")).hexdigest()[:12]

    def where(self, place: Place) -> str | None:
        """`file:line` of the value at a place, None if there is none."""
        return f"{self.name}:{self.lines[place]}" if place in self.lines else None


def read_file(path: Path) -> Config:
    """Read a file. Raises `ConfigError`, also when it cannot be read at all."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: must be UTF-8"]) from None
    return read_text(text, name=str(path))


def read_text(text: str, *, name: str = NAME) -> Config:
    """Read the text of a file that is called `name`. Raises `ConfigError` with every fault there is."""
    if len(text) > _LONGEST:
        raise ConfigError([f"{name}: must be no longer than {_LONGEST:,} characters"])
    try:
        values = tomllib.loads(text)
        lines = line_index(text)
    except RecursionError:
        raise ConfigError([f"{name}: nested too deeply"]) from None
    except ValueError as error:
        raise ConfigError([_syntax_fault(name, text, error)]) from None
    settings, setting_faults = _settings(values)
    reader = Reader(checks=CHECKS, top_level=OF_THE_FILE)
    policies: Policies = reader.table(Policies, values)
    for key in values:
        if key not in OPTIONS and key not in Policies.__struct_fields__:
            reader.unknown((key,), (*OF_THE_FILE, *Policies.__struct_fields__))
    policies = _fitted(policies, values)
    faults = [*setting_faults, *reader.faults, *cross_faults(policies, values, reader.places)]
    if faults:
        raise ConfigError(_told(name, lines, faults))
    return Config(name=name, text=text, policies=policies, settings=settings, lines=lines)


def _fitted(policies: Policies, values: Mapping[str, Any]) -> Policies:
    """Keys that a breaker's table leaves out have the defaults of its dependency, as without a table."""
    fitted = dict(policies.breaker)
    for name in fitted.keys() & BREAKERS.keys():
        written = values["breaker"][name]
        # Values that are no table, and unknown keys, have faults of their own.
        known = [key for key in Breaker.__struct_fields__ if isinstance(written, dict) and key in written]
        fitted[name] = replace(BREAKERS[name], **{key: getattr(fitted[name], key) for key in known})
    return replace(policies, breaker=fitted)


def _settings(values: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Fault]]:
    found: dict[str, Any] = {}
    faults = []
    for key in (key for key in values if key in OPTIONS):
        if key == "config":
            faults.append(Fault((key,), "a file cannot name another; use --config or PEAKGATE_CONFIG"))
            continue
        if has_control(values[key]):
            faults.append(Fault((key,), NO_CONTROL))
            continue
        try:
            found[key] = OPTIONS[key].metadata["kind"].of_toml(values[key])
        except ValueError as error:
            faults.append(Fault((key,), f"{error}{shown((key,), values[key])}"))
    return found, faults


def _told(name: str, lines: Mapping[Place, int], faults: Iterable[Fault]) -> list[str]:
    """Faults as lines, in the order of the file."""
    by_line = [(lines.get(fault.place, lines.get(fault.place[:-1], 1)), fault) for fault in faults]
    by_line.sort(key=lambda each: each[0])
    return [f"{name}:{line}: {path_text(fault.place)}: {fault.what}" for line, fault in by_line]


def _syntax_fault(name: str, text: str, error: ValueError) -> str:
    """The message of tomllib, with the line in front. A number too long to read is a plain ValueError without one."""
    if not isinstance(error, tomllib.TOMLDecodeError):
        return f"{name}: is not TOML: a value is out of all bounds"
    said = str(error)
    match = _AT_LINE.search(said)
    line = int(match[1]) if match and match[1] else text.count("\n") + 1
    return f"{name}:{line}: is not TOML: {said[: match.start()] if match else said}"
