"""From the values of the file to the tables of `policies.py`, with every fault there is, not only the first."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time
from functools import cache
from typing import Any, Final, NamedTuple

from msgspec import inspect

from gateway.config.lines import Place
from gateway.config.policies import Table

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
NO_CONTROL: Final = "must not hold control characters"
_SHOWN_MOST: Final = 60
# Never shown by a fault or a listing: addresses may hold passwords, and a mistyped key may be the secret itself.
_SECRET: Final = re.compile(r"url|target|secret|token|sha256|password|passwd|credential")


# The fault of a value of the right type, by its table and member; None if there is none.
Check = Callable[[Any], str | None]
Checks = Mapping[tuple[type, str], Check]


class Fault(NamedTuple):
    """A fault at a place, with the correction."""

    place: Place
    what: str


class _Wrong:
    """Stands where a value could not be read; its fault has been noted."""


_WRONG: Final = _Wrong()


class Reader:
    """Reads values as types and collects their faults.

    A table with a fault in it is left out, so that later checks see valid tables only.
    """

    def __init__(self, *, checks: Checks, top_level: Collection[str]) -> None:
        self._checks = checks
        # Names of settings: one below a table header belongs above the first.
        self._top_level = top_level
        self.faults: list[Fault] = []
        # Where each table that was read stands, by its identity.
        self.places: dict[int, Place] = {}

    def table(self, kind: type[Table], value: Mapping[str, Any]) -> Any:
        """Read the top of the file. A table in it that has faults is as if it were not written."""
        fields = fields_of(kind)
        found = {key: self._read(fields[key].type, part, (key,)) for key, part in value.items() if key in fields}
        return kind(**{key: part for key, part in found.items() if part is not _WRONG})

    def unknown(self, place: Place, known: Collection[str]) -> None:
        """Note a key that is none, with the one that was probably meant."""
        key = str(place[-1])
        near = difflib.get_close_matches(key.lower().replace("-", "_"), known, n=1, cutoff=0.7)
        if near:
            hint = f"did you mean {near[0]}?"
        elif len(place) > 1 and key in self._top_level:
            hint = "as a setting of the top level it belongs above the first table"
        else:
            hint = f"there is {', '.join(sorted(known))}" if len(known) < 25 else "see peakgate config schema"
        self.faults.append(Fault(place, f"there is no such key; {hint}"))

    # Each returns the value, or `_WRONG` after noting why.

    def _read(
        self, kind: inspect.Type, value: object, place: Place, check: Check | None = None, form: str | None = None
    ) -> Any:
        match kind:
            case inspect.Metadata():
                return self._read(kind.type, value, place, check, (kind.extra or {}).get("format", form))
            case inspect.UnionType():
                (inner,) = (each for each in kind.types if not isinstance(each, inspect.NoneType))
                return self._read(inner, value, place, check, form)
            case inspect.StructType():
                return self._struct(kind, value, place)
            case inspect.VarTupleType():
                return self._list(kind, value, place, check)
            case inspect.DictType():
                return self._dict(kind, value, place)
            case _:
                return self._leaf(kind, value, place, check, form)

    def _struct(self, kind: inspect.StructType, value: object, place: Place) -> Any:
        if not isinstance(value, dict):
            is_list = isinstance(value, list)
            return self._wrong(place, f"must be one table: [{place[-1]}]" if is_list else "must be a table")
        fields = fields_of(kind.cls)
        found = {}
        for key, part in value.items():
            if key in fields:
                found[key] = self._read(fields[key].type, part, (*place, key), self._checks.get((kind.cls, key)))
            else:
                self.unknown((*place, key), fields)
                found[key] = _WRONG
        for name in (name for name, field in fields.items() if field.required and name not in value):
            found[name] = self._wrong(place, f"{name} is missing")
        if any(part is _WRONG for part in found.values()):
            return _WRONG
        table = kind.cls(**found)
        self.places[id(table)] = place
        return table

    def _list(self, kind: inspect.VarTupleType, value: object, place: Place, check: Check | None) -> Any:
        of_tables = isinstance(kind.item_type, inspect.StructType)
        if not isinstance(value, list):
            return self._wrong(
                place, f"must be a list of tables: [[{place[-1]}]]" if of_tables else "must be a list: […]"
            )
        found = [self._read(kind.item_type, part, (*place, index), check) for index, part in enumerate(value)]
        if kind.min_length is not None and len(value) < kind.min_length:
            return self._wrong(place, f"must have {kind.min_length} or more")
        sound = tuple(part for part in found if part is not _WRONG)
        return sound if of_tables or len(sound) == len(found) else _WRONG

    def _dict(self, kind: inspect.DictType, value: object, place: Place) -> Any:
        if not isinstance(value, dict):
            return self._wrong(place, "must be a table")
        found = {key: self._read(kind.value_type, part, (*place, key)) for key, part in value.items()}
        sound = {key: part for key, part in found.items() if part is not _WRONG}
        return sound if isinstance(kind.value_type, inspect.StructType) or len(sound) == len(found) else _WRONG

    def _leaf(self, kind: inspect.Type, value: object, place: Place, check: Check | None, form: str | None) -> Any:
        if has_control(value):
            return self._wrong(place, NO_CONTROL)
        read = _leaf(kind, value)
        if read is _WRONG:
            return self._wrong(place, f"must be {_rule(kind, form)}{shown(place, value)}")
        if check is not None and (what := check(read)):
            return self._wrong(place, what)
        return read

    def _wrong(self, place: Place, what: str) -> _Wrong:
        self.faults.append(Fault(place, what))
        return _WRONG


def has_control(value: object) -> bool:
    """Whether text could end a line where nobody expects it: in a header, a log or a fault."""
    return isinstance(value, str) and _CONTROL.search(value) is not None


def is_secret(place: Place) -> bool:
    """Whether the value at a place is better not shown."""
    return any(isinstance(part, str) and _SECRET.search(part) for part in place)


def shown(place: Place, value: object) -> str:
    """`, not …` for the end of a fault, empty where the value may be a secret."""
    if is_secret(place):
        return ""
    match value:
        case bool():
            text = str(value).lower()
        case str() | datetime() | date() | time():
            text = repr(str(value))
        case int() | float():
            # CPython refuses to write out very long numbers.
            text = repr(value) if isinstance(value, float) or value.bit_length() < 256 else "one that long"
        case dict():
            text = "a table"
        case _:
            text = "a list"
    return f", not {text if len(text) <= _SHOWN_MOST else text[:_SHOWN_MOST] + '…'}"


@cache
def fields_of(kind: type) -> Mapping[str, inspect.Field]:
    """The members of a table by name."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return {field.name: field for field in described.fields}


def _leaf(kind: inspect.Type, value: object) -> Any:
    """The value if it is of the kind, as msgspec would have it, and finite."""
    match kind:
        case inspect.BoolType() if isinstance(value, bool):
            return value
        case inspect.IntType() if isinstance(value, int) and not isinstance(value, bool):
            return value if _within(kind, value) else _WRONG
        case inspect.FloatType() if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value) if _within(kind, value) and math.isfinite(value) else _WRONG
        case inspect.StrType() if isinstance(value, str):
            return value if re.search(kind.pattern or "", value) else _WRONG
        case inspect.LiteralType() if isinstance(value, str) and value in kind.values:
            return value
        case inspect.DateTimeType() if isinstance(value, datetime):
            return value
        case _:
            return _WRONG


def _within(kind: inspect.IntType | inspect.FloatType, value: float) -> bool:
    return (
        (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
        and (kind.lt is None or value < kind.lt)
    )


def _rule(kind: inspect.Type, form: str | None) -> str:
    """The correction."""
    match kind:
        case inspect.BoolType():
            return "true or false, without quotes"
        case inspect.IntType() | inspect.FloatType():
            return _number_rule(kind)
        case inspect.LiteralType():
            return f"one of {', '.join(str(word) for word in kind.values if word != '') or 'nothing'}"
        case inspect.DateTimeType():
            return "a time with its zone, such as 2026-11-27T09:00:00Z"
        case inspect.StrType() if form:
            return f"text in quotes ({form})"
        case inspect.StrType() if kind.pattern == "^/":
            return "text in quotes that begins with /"
        case _:
            return "text in quotes"


def _number_rule(kind: inspect.IntType | inspect.FloatType) -> str:
    noun = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
    least = f" from {kind.ge:.15g}" if kind.ge is not None else f" above {kind.gt:.15g}" if kind.gt is not None else ""
    most = f" to {kind.le:.15g}" if kind.le is not None else ""
    return f"{noun}{least}{most}"
