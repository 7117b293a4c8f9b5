"""Parse dictionaries of Structured Fields (RFC 9651, 4.2.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# A bare item (4.2.3.1): a string, a number, a token, bytes, a boolean, a date, or a display string.
_STRING: Final = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_NUMBER: Final = r"-?(?:[0-9]{1,12}\.[0-9]{1,3}|[0-9]{1,15})(?![0-9.])"
_NAME: Final = r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*"
_OTHERS: Final = r':[A-Za-z0-9+/=]*:|\?[01]|@-?[0-9]{1,15}|%"(?:[ !#$&-~]|%[0-9a-f]{2})*"'
_ITEM: Final = rf"(?:{_STRING}|{_NUMBER}|{_NAME}|{_OTHERS})"
_KEY: Final = r"[a-z*][a-z0-9_.*-]*"
_PARAMETERS: Final = rf"(?:; *{_KEY}(?:={_ITEM})?)*"
_INNER_LIST: Final = rf"\( *(?:{_ITEM}{_PARAMETERS}(?: +{_ITEM}{_PARAMETERS})* *)?\)"
_MEMBER: Final = re.compile(rf"({_KEY})(?:=({_ITEM}|{_INNER_LIST}))?{_PARAMETERS}")
_SEPARATOR: Final = re.compile(r"[ \t]*,[ \t]*")
# The value of a member that is a key alone (4.2.2, step 2.4).
TRUE: Final = "?1"


def dictionary(field: str) -> Mapping[str, str] | None:
    """The members as written, without their parameters, the last of each key; None if the field is malformed."""
    members: dict[str, str] = {}
    field = field.strip(" ")
    position = 0
    while position < len(field):
        found = _MEMBER.match(field, position)
        if found is None:
            return None
        members[found[1]] = found[2] or TRUE
        position = found.end()
        if position == len(field):
            return members
        separator = _SEPARATOR.match(field, position)
        if separator is None or separator.end() == len(field):
            return None
        position = separator.end()
    return members
