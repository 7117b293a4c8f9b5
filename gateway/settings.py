"""The only reader of flags, environment and files: they become frozen `Settings`.

Each setting is a flag `--drain-timeout`, a variable `PEAKGATE_DRAIN_TIMEOUT` and a key `drain_timeout` of the
configuration file; the first that is given wins. The tables of the file are in `Settings.policies`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.config.file import NAME, Config, ConfigError, read_file
from gateway.config.options import OPTIONS, Durability, Role, Settings

__all__ = ["OPTIONS", "PREFIX", "Durability", "Loaded", "Role", "Settings", "SettingsError", "load", "read"]

PREFIX: Final = "PEAKGATE_"
# Variables of the tests; and of Kubernetes for Services named `peakgate` and `peakgate-admin`.
_FOREIGN: Final = tuple(PREFIX + name for name in ("TEST_", "SERVICE_", "PORT_", "ADMIN_SERVICE_", "ADMIN_PORT_"))


class SettingsError(Exception):
    """One or more settings are wrong; `errors` has a line for each."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


@dataclass(frozen=True)
class Loaded:
    """Settings with where they come from."""

    settings: Settings
    # By setting: `--port`, `PEAKGATE_PORT` or `peakgate.toml:3`; missing ones have their default.
    sources: Mapping[str, str]
    # None where there is no file.
    config: Config | None


def load(flags: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """Read settings from flags (by field name), the environment and the configuration file.

    The file is the one that `config` names, or `peakgate.toml` in the current directory if it is there. Raises
    `SettingsError` with every fault there is, unknown `PEAKGATE_*` variables and those of the file among them.
    """
    return read(flags, environ).settings


def read(flags: Mapping[str, str], environ: Mapping[str, str]) -> Loaded:
    """The same, with where each value comes from."""
    values, sources, errors = _outside(flags, environ)
    errors += [f"{variable}: there is no such setting" for variable in sorted(environ) if _is_unknown(variable)]
    config = None
    try:
        config = _config(values.get("config"))
    except ConfigError as error:
        errors += error.errors
    if errors:
        raise SettingsError(errors)
    if config is None:
        return Loaded(Settings(**values), sources, None)
    of_file = {name: config.location((name,)) or config.name for name in config.settings}
    settings = Settings(**{**config.settings, **values}, policies=config.policies, config_text=config.text)
    return Loaded(settings, {**of_file, **sources}, config)


def _outside(flags: Mapping[str, str], environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """The values of flags and variables, their sources, and their errors."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    errors: list[str] = []
    for name, option in OPTIONS.items():
        variable = PREFIX + name.upper()
        source, text = ("--" + name.replace("_", "-"), flags.get(name))
        if text is None:
            source, text = variable, environ.get(variable)
        if text is None or (source == variable and (not text or _is_service_link(name, text))):
            continue
        try:
            values[name] = option.metadata["kind"](text)
            sources[name] = source
        except ValueError as error:
            # An address may hold a password, also one that is mistyped.
            given = "" if name.endswith(("_url", "_endpoint")) else f", not {text!r}"
            errors.append(f"{source}: {error}{given}")
    return values, sources, errors


def _config(named: Path | None) -> Config | None:
    path = named or Path(NAME)
    return read_file(path) if named is not None or path.is_file() else None


def _is_service_link(name: str, text: str) -> bool:
    """Whether Kubernetes has put the address of a Service of ours where the port would be."""
    return name in {"port", "admin_port"} and text.startswith("tcp://")


def _is_unknown(variable: str) -> bool:
    """Whether it looks like a setting and is none; those of the tests and of Kubernetes are theirs."""
    known = {PREFIX + name.upper() for name in OPTIONS}
    return variable.startswith(PREFIX) and not variable.startswith(_FOREIGN) and variable not in known
