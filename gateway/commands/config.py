"""`peakgate config check|show|schema|hash-key`."""

from __future__ import annotations

import getpass
import hashlib
import json
import re
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.config.cross_checks import unmatched_route_patterns
from gateway.config.file import NAME, Config, ConfigError, read_file
from gateway.config.policies import Policies
from gateway.config.schema import schema
from gateway.config.show import format_toml
from gateway.config.source_lines import format_key_path
from gateway.settings import Loaded, SettingsError

# Hashes are fast, so a key must not be guessable.
_MIN_KEY_CHARACTERS: Final = 16
_MAX_KEY_CHARACTERS: Final = 512
_KEY_BYTES: Final = 32

Say = Callable[[str], None]


def check(path: Path | None, *, say: Say) -> int:
    """Read the file and print a summary line. Raises `SettingsError` with all errors."""
    if path is None:
        path = Path(NAME)
        if not path.is_file():
            raise SettingsError([f"there is no {NAME} here; name a file: peakgate config check FILE"])
    try:
        config = read_file(path)
    except ConfigError as error:
        raise SettingsError(error.errors) from error
    from gateway.policies.own_paths import with_own_patterns

    _check_pages(config, say)
    for key_path, message in unmatched_route_patterns(with_own_patterns(config.policies), own_routes()):
        say(f"{config.location(key_path) or config.name}: warning: {format_key_path(key_path)}: {message}")
    sys.stdout.write(f"{config.name}: valid: {_summary(config)} (digest {config.digest})\n")
    return 0


def _check_pages(config: Config, say: Say) -> None:
    """Render all pages. Raises `SettingsError` for files that the gateway would not use."""
    from gateway.policies.pages import page_set

    pages = page_set(config.policies.pages)
    if pages.faults:
        where = config.location(("pages", "folder")) or config.name
        raise SettingsError([f"{where}: pages: {fault}" for fault in pages.faults])
    for warning in pages.warnings:
        say(f"warning: {warning}")


def show(loaded: Loaded) -> int:
    """Print the effective configuration."""
    sys.stdout.write(format_toml(loaded.settings, loaded.sources, loaded.config))
    return 0


def print_schema() -> int:
    """Print the JSON Schema of the file."""
    sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
    return 0


def hash_key(name: str, *, new: bool, say: Say) -> int:
    """Print the entry of a key that is read from standard input, or of a new one, which is told beside it."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", name):
        raise SettingsError(["--name: must be lower case, digits, - and _, and begin with a letter"])
    key = secrets.token_urlsafe(_KEY_BYTES) if new else _typed_key()
    if (
        not key.isascii()
        or not key.isprintable()
        or " " in key
        or not _MIN_KEY_CHARACTERS <= len(key) <= _MAX_KEY_CHARACTERS
    ):
        raise SettingsError(
            [f"a key must be {_MIN_KEY_CHARACTERS} to {_MAX_KEY_CHARACTERS} visible ASCII characters; --new makes one"]
        )
    if new:
        say(f"the new key, told only now: {key}")
    digest = hashlib.sha256(key.encode()).hexdigest()
    sys.stdout.write(f'[[identity.api_keys]]\nname = "{name}"\nsha256 = "{digest}"\n')
    return 0


def _typed_key() -> str:
    """The key from standard input; a terminal does not show it."""
    return (
        getpass.getpass("key: ") if sys.stdin.isatty() else sys.stdin.readline().removeprefix("\ufeff").rstrip("\r\n")
    )


def own_routes() -> Sequence[tuple[str, str]]:
    """Method and path of every call of the gateway itself."""
    from gateway.api.health import HealthSources, health_routes
    from gateway.api.routes import cart_routes, checkout_routes, product_routes, quote_routes, trending_routes

    # Rows only: their calls are looked up when they are called.
    nobody: Any = None
    rows = [
        *cart_routes(nobody),
        *product_routes(nobody),
        *trending_routes(nobody),
        *checkout_routes(nobody, nobody, nobody),
        *quote_routes(nobody),
        *health_routes(HealthSources(checks={})),
    ]
    return [(row.method, row.path) for row in rows]


def _summary(config: Config) -> str:
    """`settings: 3, limits: 2, cors`; a table that is no list is only named."""
    tables = config.policies
    found = [f"settings: {len(config.settings)}"] if config.settings else []
    for name in tables.__struct_fields__:
        value = getattr(tables, name)
        if isinstance(value, tuple | dict):
            found += [f"{name}: {len(value)}"] if value else []
        elif value != getattr(Policies(), name):
            found.append(name)
    return ", ".join(found) or "nothing but defaults"
