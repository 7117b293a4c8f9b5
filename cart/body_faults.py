"""What is wrong with a JSON body, in words for those who sent it: a JSON pointer (RFC 6901) and a sentence.

msgspec words its errors for Python programmers ("Expected `int`, got `str` - at `$.quantity`") and points to the object
that lacks a member.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

_TYPES: Final[Mapping[str, str]] = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
    "bytes": "a string in base64",
    "datetime": "a time as in RFC 3339",
}
# What a length counts.
_UNITS: Final[Mapping[str, str]] = {"str": "character", "array": "item", "object": "member", "bytes": "byte"}
_BOUNDS: Final[Mapping[str, str]] = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}

_PATH: Final = re.compile(r"^(?P<problem>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_MISSING: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_KIND: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_LENGTH: Final = re.compile(r"Expected `(\w+)(?: \| null)?` of length (>=|<=|==) (\d+)")
_BOUND: Final = re.compile(r"Expected `(\w+)(?: \| null)?` (>=|<=|>|<) (\S+)")
_BYTE: Final = re.compile(r"\(byte (\d+)\)")
# Names longer than any member of ours are cut off.
_SHOWN: Final = 64


def fault_of(error: msgspec.ValidationError, body_type: Any = None) -> tuple[str, str]:
    """The pointer to what is invalid or missing, and what it must be. `body_type` names the values of an enumeration."""
    found = _PATH.match(str(error))
    assert found is not None  # it matches every text
    steps = [name or index for name, index in _STEP.findall(found["path"] or "")]
    problem = found["problem"]
    if missing := _MISSING.fullmatch(problem):
        return pointer(*steps, missing[1]), "is missing"
    if unknown := _UNKNOWN.fullmatch(problem):
        return pointer(*steps, unknown[1][:_SHOWN]), "is not a member of this object"
    if problem.startswith("Invalid enum value"):
        values = _enumeration(body_type, steps)
        return pointer(*steps), f"must be one of: {', '.join(values)}" if values else "is not one of the allowed values"
    return pointer(*steps), _requirement(problem)


def malformed(error: Exception) -> str:
    """Why a text is not JSON."""
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 at byte {error.start}"
    text = str(error)
    if "truncated" in text:
        return "ends too early"
    at = _BYTE.search(text)
    return f"is not JSON at byte {at[1]}" if at is not None else "is not JSON"


def pointer(*steps: str) -> str:
    """The JSON pointer of these names and indexes; `~` and `/` are escaped."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def _requirement(problem: str) -> str:
    if length := _LENGTH.match(problem):
        kind, operator, count = length[1], length[2], int(length[3])
        unit = _UNITS.get(kind, "item") + ("" if count == 1 else "s")
        return f"must have {_BOUNDS.get(operator, 'exactly')} {count} {unit}"
    if bound := _BOUND.match(problem):
        return f"must be {_types(bound[1])} of {_BOUNDS[bound[2]]} {bound[3]}"
    if kind_error := _KIND.match(problem):
        return f"must be {_types(kind_error[1])}"
    if "matching regex" in problem:
        return "has the wrong form"
    if "out of range" in problem:
        return "is too large or too small"
    return "is not valid"


def _types(kinds: str) -> str:
    return " or ".join(_TYPES.get(kind, "another value") for kind in kinds.split(" | "))


def _enumeration(body_type: Any, steps: list[str]) -> list[str]:
    """The values that the schema of the body allows at this place."""
    if body_type is None:
        return []
    schema = msgspec.json.schema(body_type)
    node = _resolved(schema, schema)
    for step in steps:
        properties = node.get("properties", {})
        node = _resolved(properties.get(step) or node.get("items") or {}, schema)
    return [str(value) for value in node.get("enum", [])]


def _resolved(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a `$ref`, or a member that may be null, stands for."""
    for alternative in node.get("anyOf", ()):
        if alternative.get("type") != "null":
            node = alternative
    reference = node.get("$ref")
    return schema["$defs"][reference.rpartition("/")[2]] if reference else node
