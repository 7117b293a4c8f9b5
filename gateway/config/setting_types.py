"""Types of settings: parsers of flags, variables and values of the file, and their JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from cart.currencies import BAD_CURRENCY, is_currency

_TRUE_WORDS: Final = frozenset({"1", "true", "yes", "on"})
_FALSE_WORDS: Final = frozenset({"0", "false", "no", "off"})


class SettingType(Protocol):
    """The type of a setting. Both parsers raise `ValueError` with the correction."""

    def __call__(self, text: str) -> Any:
        """Parse a flag or a variable."""
        ...

    def parse_toml(self, value: object) -> Any:
        """Check a value of the file."""
        ...

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON Schema of the value in the file."""
        ...


@dataclass(frozen=True)
class Number:
    """A number from `minimum` to `maximum`."""

    minimum: float
    maximum: float
    kind: type[int | float] = int

    def __call__(self, text: str) -> Any:
        """Parse digits."""
        try:
            number = self.kind(text)
        except ValueError:
            number = None
        if number is None or not self.minimum <= number <= self.maximum:
            raise ValueError(self._rule)
        return number

    def parse_toml(self, value: object) -> Any:
        """Check a number, written without quotes."""
        if (
            not isinstance(value, (int, self.kind))
            or isinstance(value, bool)
            or not self.minimum <= value <= self.maximum
        ):
            raise ValueError(f"{self._rule}, without quotes" if isinstance(value, str) else self._rule)
        return self.kind(value)

    @property
    def schema(self) -> Mapping[str, Any]:
        """A number with its bounds."""
        return {
            "type": "integer" if self.kind is int else "number",
            "minimum": self.minimum,
            "maximum": self.maximum,
        }

    @property
    def _rule(self) -> str:
        return f"must be a number from {self.minimum:.15g} to {self.maximum:.15g}"


@dataclass(frozen=True)
class Boolean:
    """`yes`, `no` and their synonyms; `true` or `false` in the file."""

    def __call__(self, text: str) -> bool:
        """Parse a word."""
        if text.lower() not in _TRUE_WORDS | _FALSE_WORDS:
            raise ValueError("must be yes or no")
        return text.lower() in _TRUE_WORDS

    def parse_toml(self, value: object) -> bool:
        """Check a boolean."""
        if not isinstance(value, bool):
            raise ValueError("must be true or false, without quotes")  # noqa: TRY004 - a setting type raises nothing else
        return value

    @property
    def schema(self) -> Mapping[str, Any]:
        """A boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Text:
    """Text that `read` parses."""

    read: Callable[[str], Any]
    words: tuple[str, ...] = ()

    def __call__(self, text: str) -> Any:
        """Parse it."""
        return self.read(text)

    def parse_toml(self, value: object) -> Any:
        """Parse it, written in quotes."""
        if not isinstance(value, str):
            raise ValueError("must be text in quotes")  # noqa: TRY004 - a setting type raises nothing else
        return self.read(value)

    @property
    def schema(self) -> Mapping[str, Any]:
        """A string, of the words if there are any."""
        return {"enum": list(self.words)} if self.words else {"type": "string", "minLength": 1}


def one_of(*words: str) -> Text:
    """One of some words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return Text(read, words)


def url(*schemes: str) -> Text:
    """A URL with one of some schemes."""

    def read(text: str) -> str:
        if not any(text.startswith(f"{scheme}://") and len(text) > len(scheme) + 3 for scheme in schemes):
            raise ValueError(f"must be an address that begins with {', '.join(f'{s}://' for s in schemes)}")
        return text

    return Text(read)


def currency_code(text: str) -> str:
    """A currency code of ISO 4217."""
    if not is_currency(text):
        raise ValueError(BAD_CURRENCY)
    return text


def not_empty(text: str) -> str:
    """Text that is not blank."""
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def new_path(text: str) -> Path:
    """A path that need not exist."""
    return Path(not_empty(text))


def existing_file(text: str) -> Path:
    """The path of a file that exists."""
    path = Path(text)
    # `is_file` raises for text that cannot be a path.
    if "\0" in text or not path.is_file():
        raise ValueError("must name a file that exists")
    return path
